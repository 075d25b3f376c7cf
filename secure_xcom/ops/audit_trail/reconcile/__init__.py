"""Compare the access log with the key services' own logs.

An unwrap in a key service's log without an event is a use of the key outside secure_xcom. An event without a
server record means that one of the two logs is incomplete or was forged. `match` decides on plain records,
`vault_log` and `cloudtrail` read the services' logs, and `expected_uses` reads the access log.
"""
