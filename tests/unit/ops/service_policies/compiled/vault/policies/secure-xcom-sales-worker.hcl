# secure_xcom: identity sales-worker. Compiled from the access policy: change that, not this.
# What is not allowed here is denied. A context is a digest of ids (docs/reference/format.md).

# In finance.
# Pull: unwrap data keys. One at a time, within these contexts: Vault does not see into a batch.
path "transit/decrypt/xcom-finance" {
  capabilities        = ["update"]
  required_parameters = ["ciphertext", "context"]
  allowed_parameters  = { "ciphertext" = [], "context" = ["TfwgDkiWcyVLDKTSYPuuPof9p1O5Km8rYNeUKdIRayt3BBbxkzBWohamAvr8epHJrUuZTCVmsl7DF6zKqYlAOootn1fedbrsgZxUeDA+o94ZOhCY/OKFbQCjifZ0oSqNWHCR4fAnN0wkv/WcoL7Ec9ttfxtMtkD0uIVCvsKlkEJAplni1r2Oh1bwWJy7Ly3L*"] }
}

# In sales.
# Push: wrap data keys. Never `create`: it would make a key of any name that is not there yet.
path "transit/encrypt/xcom-sales" {
  capabilities = ["update"]
}

# In sales.
# Pull: unwrap data keys.
path "transit/decrypt/xcom-sales" {
  capabilities = ["update"]
}

# Pull: read payloads, which are sealed.
path "secret/data/xcom/finance/fin_daily/*" {
  capabilities = ["read"]
}
