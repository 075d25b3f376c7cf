"""What Airflow is told of this package: its name, its options and its commands.

Read by Airflow's providers manager through the entry point ``apache_airflow_provider`` whenever an Airflow
component starts, so nothing here imports more than the list of options.
"""

from __future__ import annotations

from typing import Any

from secure_xcom.core.config import OPTIONS, SECTION


def get_provider_info() -> dict[str, Any]:
    """Return the provider's entry, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "secure-xcom",
        "name": "Secure XCom",
        "description": "An encrypted, secrets-aware XCom backend.",
        "config": {
            SECTION: {
                "description": (
                    "Sealed XComs. Used where ``[core] xcom_backend = secure_xcom.SecureXComBackend``; set an "
                    "``access_policy``, or ``key_uris`` and ``store_uri``."
                ),
                "options": {
                    name: {
                        "description": option.text,
                        "version_added": option.added,
                        "type": option.type,
                        "example": option.example,
                        "default": option.default,
                        "sensitive": option.sensitive,
                    }
                    for name, option in OPTIONS.items()
                },
            }
        },
        # Known to Airflow from 3.2; 3.1 passes over it, and has the command `secure-xcom` alone.
        "cli": ["secure_xcom.cli.airflow_cli.get_secure_xcom_cli_commands"],
    }
