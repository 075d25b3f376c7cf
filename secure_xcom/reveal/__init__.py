"""The reveal service: an authorized person sees a value, and no server of Airflow does.

In its default mode the service has no key and no token of Vault. It checks who asks, records it, and hands out
sealed bytes; the person's browser unwraps the data key with the person's own rights at Vault. The setup and the
permissions are in docs/how-to/reveal-a-value.md. `app` has the routes, `revealing` the order of the checks.
"""

REVEALS_AT_ONCE = 4
"""By default. Each holds a sealed payload of at most 8 MiB until it is sent."""
