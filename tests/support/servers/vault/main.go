// Command vault is HashiCorp Vault's own server, built from its Go module for
// the tests of secure_xcom. It is never shipped.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() {
	os.Exit(command.Run(os.Args[1:]))
}
