"""Holding our events against the key services' own logs.

An unwrap that a key service has logged and that has no event is a use of the key outside secure_xcom; an event
without its server record says that one of the two logs is missing something or was forged. `matching` decides on
plain records; `vault_log` and `cloudtrail` read the services' logs, `our_events` reads ours.
"""
