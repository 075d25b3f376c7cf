# Templates of Vault policies: what one identity may do with one transit key. `secure-xcom policy compile` and
# `secure-xcom init --vault` put policies together from the blocks below; ${...} is filled in, and a line that begins
# with "#:" names the block that follows and is not written. Where a grant is limited by context, the block with
# `scoped` behind its name is taken. docs/reference/service-policies.md says which identity gets which block, and why.
#
# Never in any of them:
#   create   on encrypt makes a key of any name that is not there yet, with settings that nobody chose;
#   *, +     in a path of a key, since the next key of a fitting name would be open as well;
#   keys/... beyond `read`: settings, rotation and deletion are an operator's, who opens nothing.

#: writer
# Push: wrap data keys. Never `create`: it would make a key of any name that is not there yet.
path "${mount}/encrypt/${key}" {
  capabilities = ["update"]
}

# The context is four digests of 64 base64 characters each (docs/reference/format.md): compartment, DAG, task, run. A prefix of
# them limits the grant. `required_parameters` makes the context part of every request; `allowed_parameters` lets
# nothing else through, `batch_input` above all, into which Vault does not look.

#: writer scoped
# Push: wrap data keys. Never `create`: it would make a key of any name that is not there yet. One at a time, within these contexts: Vault does not see into a batch.
path "${mount}/encrypt/${key}" {
  capabilities        = ["update"]
  required_parameters = ["plaintext", "context"]
  allowed_parameters  = { "plaintext" = [], "context" = [${contexts}] }
}

#: reader
# Pull: unwrap data keys.
path "${mount}/decrypt/${key}" {
  capabilities = ["update"]
}

#: reader scoped
# Pull: unwrap data keys. One at a time, within these contexts: Vault does not see into a batch.
path "${mount}/decrypt/${key}" {
  capabilities        = ["update"]
  required_parameters = ["ciphertext", "context"]
  allowed_parameters  = { "ciphertext" = [], "context" = [${contexts}] }
}

# Maintenance rewraps and never opens: rewrap gives back a wrap, and transit keeps the data key to itself.

#: maintenance
# Rewrap to the newest version, without seeing a data key.
path "${mount}/rewrap/${key}" {
  capabilities = ["update"]
}

#: maintenance scoped
# Rewrap to the newest version, without seeing a data key. One at a time, within these contexts: Vault does not see into a batch.
path "${mount}/rewrap/${key}" {
  capabilities        = ["update"]
  required_parameters = ["ciphertext", "context"]
  allowed_parameters  = { "ciphertext" = [], "context" = [${contexts}] }
}

#: look
# See versions and settings of the key, never the key itself.
path "${mount}/keys/${key}" {
  capabilities = ["read"]
}
