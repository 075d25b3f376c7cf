# Templates of Vault policies: what one identity may do in a Vault KV store (version 2). ${path} is the store's prefix
# and below it a compartment, or a DAG of one. An identity with several of these roles gets one block for each path,
# with the capabilities of all: two blocks of one path would depend on their order. Vault takes such a path for the
# folder itself as well when it is listed. See transit.hcl for "#:".

#: writer
# Push: create payloads. Without `update` none is ever overwritten.
path "${mount}/data/${path}/*" {
  capabilities = ["create"]
}
# Purge with all versions, as when a task is cleared. Without it payloads stay until gc.
path "${mount}/metadata/${path}/*" {
  capabilities = ["delete"]
}

#: reader
# Pull: read payloads, which are sealed.
path "${mount}/data/${path}/*" {
  capabilities = ["read"]
}

#: claimant
# Claim exclusive payloads, and see who has. Without `update` and `delete` no claim is changed or taken away.
path "${mount}/data/${path}/*" {
  capabilities = ["create", "read"]
}

#: maintenance
# Find what no reference names, and destroy it.
path "${mount}/metadata/${path}/*" {
  capabilities = ["list", "delete"]
}
# Sizes and times are only in the entries, which are sealed.
path "${mount}/data/${path}/*" {
  capabilities = ["read"]
}
