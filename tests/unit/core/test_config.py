"""Settings that name no key or no store."""

from __future__ import annotations

import pytest

from secure_xcom.core.config import Settings
from secure_xcom.core.errors import SettingMissing

KEY = {"key_uris": "local:///keyring.json"}
STORE = {"store_uri": "file:///sealed"}


@pytest.mark.parametrize(
    ("section", "missing", "present"),
    [
        ({}, ["key_uris", "store_uri"], []),
        (KEY, ["store_uri"], ["key_uris"]),
        (STORE, ["key_uris"], ["store_uri"]),
    ],
)
def test_the_error_names_what_is_missing_and_nothing_else(
    section: dict[str, str], missing: list[str], present: list[str]
) -> None:
    """Message and remedy name each option that is not set, with an example to copy, and no option that is set."""
    with pytest.raises(SettingMissing) as caught:
        Settings.parse(section).require_place()
    assert caught.value.what == f"{' and '.join(missing)} not set, so nothing can be sealed"
    assert [name for name in missing if f"`{name} = " not in caught.value.remedy] == []
    assert [name for name in present if name in str(caught.value)] == []


def test_an_access_policy_needs_neither() -> None:
    """Its compartments name keys and stores."""
    Settings.parse({"access_policy": "/etc/airflow/access_policy.yaml"}).require_place()
