# secure_xcom: identity finance-worker. Compiled from the access policy: change that, not this.
# What is not allowed here is denied. A context is a digest of ids (docs/reference/format.md).

# In finance.
# Push: wrap data keys. Never `create`: it would make a key of any name that is not there yet. One at a time, within these contexts: Vault does not see into a batch.
path "transit/encrypt/xcom-finance" {
  capabilities        = ["update"]
  required_parameters = ["plaintext", "context"]
  allowed_parameters  = { "plaintext" = [], "context" = ["TfwgDkiWcyVLDKTSYPuuPof9p1O5Km8rYNeUKdIRayt3BBbxkzBWohamAvr8epHJ*"] }
}

# In finance.
# Pull: unwrap data keys. One at a time, within these contexts: Vault does not see into a batch.
path "transit/decrypt/xcom-finance" {
  capabilities        = ["update"]
  required_parameters = ["ciphertext", "context"]
  allowed_parameters  = { "ciphertext" = [], "context" = ["TfwgDkiWcyVLDKTSYPuuPof9p1O5Km8rYNeUKdIRayt3BBbxkzBWohamAvr8epHJ*"] }
}

# Push: create payloads. Without `update` none is ever overwritten.
# Pull: read payloads, which are sealed.
path "secret/data/xcom/finance/*" {
  capabilities = ["create", "read"]
}

# Purge with all versions, as when a task is cleared. Without it payloads stay until gc.
path "secret/metadata/xcom/finance/*" {
  capabilities = ["delete"]
}
