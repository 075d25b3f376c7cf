# What `secure-xcom policy compile --out` wrote, as outputs. It needs no provider and makes nothing.

terraform {
  required_version = ">= 1.6"
}

variable "folder" {
  description = "The folder that `secure-xcom policy compile --out` wrote."
  type        = string

  validation {
    condition     = fileexists("${var.folder}/README.md")
    error_message = "There are no compiled files in this folder. Write them: secure-xcom policy compile ACCESS_POLICY --out FOLDER"
  }
}

locals {
  transit = [for name in fileset(var.folder, "vault/transit/*.json") : jsondecode(file("${var.folder}/${name}"))]
  # A mount may have slashes in it, a key has none: transit/team/keys/xcom.
  places = [for key in local.transit : regex("^(?P<mount>.+)/keys/(?P<name>[^/]+)$", key.path)]
}

output "aws_identities" {
  description = "Identity => its IAM policy, as text."
  value = {
    for name in fileset(var.folder, "aws/identities/*.json") :
    trimsuffix(basename(name), ".json") => file("${var.folder}/${name}")
  }
}

output "aws_keys" {
  description = "Alias, without alias/ => the key policy of the key that it names, as text. Keys that are named by ARN are there already: their policies are not made here."
  value = {
    for name in fileset(var.folder, "aws/keys/alias~*.json") :
    trimprefix(trimsuffix(basename(name), ".json"), "alias~") => file("${var.folder}/${name}")
  }
}

output "aws_buckets" {
  description = "Bucket => its policy as text, its lifecycle rules and what it says of public access, both decoded."
  value = {
    for name in fileset(var.folder, "aws/buckets/*.policy.json") :
    trimsuffix(basename(name), ".policy.json") => {
      policy        = file("${var.folder}/${name}")
      lifecycle     = jsondecode(file("${var.folder}/${trimsuffix(name, ".policy.json")}.lifecycle.json")).Rules
      public_access = jsondecode(file("${var.folder}/${trimsuffix(name, ".policy.json")}.public-access.json"))
    }
  }
}

output "vault_policies" {
  description = "Name of a Vault policy => its text."
  value = {
    for name in fileset(var.folder, "vault/policies/*.hcl") :
    trimsuffix(basename(name), ".hcl") => file("${var.folder}/${name}")
  }
}

output "vault_roles" {
  description = "Identity => path and body of the role of its auth method."
  value = {
    for name in fileset(var.folder, "vault/roles/*.json") :
    trimsuffix(basename(name), ".json") => jsondecode(file("${var.folder}/${name}"))
  }
}

output "vault_transit" {
  description = "Mount => key => what the key is made with. The rotation period is a number of seconds, as the provider wants it."
  value = {
    for mount in distinct(local.places[*].mount) : mount => {
      for index, key in local.transit : local.places[index].name => merge(key.create, {
        deletion_allowed    = key.config.deletion_allowed
        auto_rotate_seconds = tonumber(trimsuffix(key.config.auto_rotate_period, "h")) * 3600
      }) if local.places[index].mount == mount
    }
  }
}
