# Transit keys, policies and roles in Vault or OpenBao, from the files that `secure-xcom policy compile` wrote.
#
# Use either this module or `secure-xcom policy apply --to vault`, not both. Secret ids are not made here: they would
# stand in Terraform's state.

terraform {
  required_version = ">= 1.6"

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 4.5, < 6.0"
    }
  }
}

variable "compiled" {
  description = "The folder that `secure-xcom policy compile --out` wrote."
  type        = string
}

variable "enable_approle" {
  description = "Enable the auth method AppRole at its usual mount. Other methods have settings of their own (whom they trust) and are enabled by an operator."
  type        = bool
  default     = false
}

variable "kv_mounts" {
  description = "Mounts of vault-kv:// stores that are to be made."
  type        = set(string)
  default     = []
}

module "compiled" {
  source = "../compiled"
  folder = var.compiled
}

locals {
  keys = merge([
    for mount, keys in module.compiled.vault_transit : {
      for name, key in keys : "${mount}/keys/${name}" => merge(key, { mount = mount, name = name })
    }
  ]...)
}

resource "vault_mount" "transit" {
  for_each = module.compiled.vault_transit

  path        = each.key
  type        = "transit"
  description = "Wrapping keys of XComs"
}

resource "vault_mount" "kv" {
  for_each = var.kv_mounts

  path        = each.key
  type        = "kv-v2"
  description = "Sealed XComs"
}

resource "vault_transit_secret_backend_key" "wrapping" {
  for_each = local.keys

  backend                = vault_mount.transit[each.value.mount].path
  name                   = each.value.name
  type                   = each.value.type
  derived                = each.value.derived
  exportable             = each.value.exportable
  allow_plaintext_backup = each.value.allow_plaintext_backup
  deletion_allowed       = each.value.deletion_allowed
  auto_rotate_period     = each.value.auto_rotate_seconds

  lifecycle {
    # With the key every XCom under it is gone.
    prevent_destroy = true
  }
}

# A typing error in a path must not make a key.
resource "vault_generic_endpoint" "no_upsert" {
  for_each = module.compiled.vault_transit

  path                 = "${vault_mount.transit[each.key].path}/config/keys"
  data_json            = jsonencode({ disable_upsert = true })
  disable_delete       = true
  ignore_absent_fields = true
}

resource "vault_policy" "identity" {
  for_each = module.compiled.vault_policies

  name   = each.key
  policy = each.value
}

resource "vault_auth_backend" "approle" {
  count = var.enable_approle ? 1 : 0

  type = "approle"
}

# As compiled, whatever the method: AppRole, Kubernetes or JWT.
resource "vault_generic_endpoint" "role" {
  for_each = module.compiled.vault_roles

  path                 = each.value.path
  data_json            = jsonencode(each.value.body)
  ignore_absent_fields = true

  depends_on = [vault_policy.identity, vault_auth_backend.approle]
}

output "roles" {
  description = "Identity => path of its role."
  value       = { for name, role in module.compiled.vault_roles : name => role.path }
}
