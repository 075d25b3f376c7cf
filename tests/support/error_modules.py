"""The modules of `secure_xcom.core` that declare errors."""

ERROR_MODULES = (
    "claim_errors",
    "errors",
    "keyring_errors",
    "operator_errors",
    "policy_errors",
    "service_errors",
    "store_errors",
    "vault_errors",
)
