"""One Vault (or OpenBao): its address, one login, one way to call it, and the policies that it is to hold.

The key service (`secure_xcom.keys.vault`) and the store (`secure_xcom.stores.vault_kv`) pass through this room,
so one login serves both, and what is wrong with a Vault is told apart in one place.
"""
