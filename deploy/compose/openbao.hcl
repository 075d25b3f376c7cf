# One OpenBao with its storage in a volume. TLS is left out because only this project's own network reaches it:
# anything that others reach needs a certificate here (docs/how-to/deploy-with-compose.md).
storage "raft" {
  path    = "/openbao/file"
  node_id = "one"
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

api_addr     = "http://vault:8200"
cluster_addr = "http://vault:8201"

# The unseal key is a file of 32 random bytes, so that a restart needs nobody. Who has it and the volume has
# everything: in production this is an HSM, a cloud's KMS or people.
seal "static" {
  current_key_id = "compose-1"
  current_key    = "file:///run/secrets/vault_unseal_key"
}

# What `secure-xcom audit reconcile` holds the access log against.
audit "file" "requests" {
  options {
    file_path = "/openbao/file/audit.log"
  }
}
