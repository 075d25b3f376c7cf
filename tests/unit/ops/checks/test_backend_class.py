"""`check` imports the configured backend class; misspelled sections and variables are found."""

from __future__ import annotations

import os
from typing import Any

import pytest

from secure_xcom import SecureXComBackend
from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.backend_class import findings
from secure_xcom.ops.checks.misspelled_settings import misspelled_settings


class Ours(SecureXComBackend):
    """A subclass that changes nothing that values pass through."""


class Replacing(SecureXComBackend):
    """A subclass that stores values as they are."""

    @staticmethod
    def serialize_value(value: Any, **_: Any) -> Any:
        return value


class Sending(SecureXComBackend):
    """A subclass that sends rows itself."""

    @classmethod
    async def aset(cls, key: str, value: Any, **place: Any) -> None:
        pass


class Another:
    """A class of somebody else."""


HERE = __name__


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("secure_xcom.SecureXComBackend", "ok", "values pass through secure_xcom.SecureXComBackend"),
        (f"{HERE}.Ours", "ok", "a subclass of secure_xcom.SecureXComBackend"),
        (f"{HERE}.Replacing", "warning", "replaces serialize_value"),
        (f"{HERE}.Sending", "warning", "replaces aset"),
        (f"{HERE}.Another", "error", "is another backend"),
        ("airflow.sdk.bases.xcom.BaseXCom", "error", "stored in plaintext"),
        ("", "error", "stored in plaintext"),
        ("secure_xcom.SecureXcomBackend", "error", "has no 'SecureXcomBackend'"),
        ("secure_xcom.securexcombackend", "error", "has no 'securexcombackend'"),
        ("secure_xcm.SecureXComBackend", "error", "there is no module 'secure_xcm'"),
        ("secure_xcom.core.errors.SecureXComError", "error", "is another backend"),
        ("SecureXComBackend", "error", "cannot be imported"),
    ],
)
def test_the_class_is_imported(name: str, status: str, text: str) -> None:
    """A wrong letter, a letter's case, another class and a subclass are told apart."""
    found: Finding = list(findings(name))[-1]
    assert (found.status, text in found.text) == (status, True), found
    assert (found.remedy == "") == (status == "ok")
    if "SecureX" in name and status == "error" and "errors" not in name:
        assert "did you mean secure_xcom.SecureXComBackend?" in found.remedy


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AIRFLOW__SECUREXCOM__KEY_URIS", "AIRFLOW__SECURE_XCOM__KEY_URIS"),
        ("AIRFLOW_SECURE_XCOM_KEY_URIS", "AIRFLOW__SECURE_XCOM__KEY_URIS"),
        ("AIRFLOW__SECURE_XCOM_PREVIEW", "AIRFLOW__SECURE_XCOM__PREVIEW"),
        ("airflow__secure_xcom__store_uri", "AIRFLOW__SECURE_XCOM__STORE_URI"),
        ("AIRFLOW__SECUR_XCOM__ACCESS_POLICY", "AIRFLOW__SECURE_XCOM__ACCESS_POLICY"),
    ],
)
def test_a_variable_that_nobody_reads_is_told(name: str, meant: str) -> None:
    """It is named with the one that was meant, and its value is not shown."""
    (found,) = misspelled_settings(environment={name: "opensesame", "AIRFLOW__CORE__XCOM_BACKEND": "x"})
    assert (found.subject, meant in found.remedy) == (name, True)
    assert "opensesame" not in str(found)


def test_what_is_spelled_well_is_not_told() -> None:
    """Our own variables, Airflow's and sections of others are no findings; a misspelled section is one."""
    well = {
        "AIRFLOW__SECURE_XCOM__KEY_URIS": "x",
        "AIRFLOW__CORE__XCOM_BACKEND": "x",
        "SECURE_XCOM_DB": "x",
        **os.environ,
    }
    assert list(misspelled_settings(["core", "secrets", "secure_xcom", "database"], well)) == []
    assert [found.subject for found in misspelled_settings(["secure_xom", "secure-xcom"], {})] == [
        "[secure_xom]",
        "[secure-xcom]",
    ]
