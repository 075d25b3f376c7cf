# secure_xcom: identity caretaker. Compiled from the access policy: change that, not this.
# What is not allowed here is denied. A context is a digest of ids (docs/reference/format.md).

# In finance.
# Rewrap to the newest version, without seeing a data key. One at a time, within these contexts: Vault does not see into a batch.
path "transit/rewrap/xcom-finance" {
  capabilities        = ["update"]
  required_parameters = ["ciphertext", "context"]
  allowed_parameters  = { "ciphertext" = [], "context" = ["TfwgDkiWcyVLDKTSYPuuPof9p1O5Km8rYNeUKdIRayt3BBbxkzBWohamAvr8epHJ*"] }
}

# In finance.
# See versions and settings of the key, never the key itself.
path "transit/keys/xcom-finance" {
  capabilities = ["read"]
}

# In sales.
# Rewrap to the newest version, without seeing a data key.
path "transit/rewrap/xcom-sales" {
  capabilities = ["update"]
}

# In sales.
# See versions and settings of the key, never the key itself.
path "transit/keys/xcom-sales" {
  capabilities = ["read"]
}

# Find what no reference names, and destroy it.
path "secret/metadata/xcom/finance/*" {
  capabilities = ["list", "delete"]
}

# Sizes and times are only in the entries, which are sealed.
path "secret/data/xcom/finance/*" {
  capabilities = ["read"]
}
