"""Errors about options of ``[secure_xcom]``: what was meant, or is missing. Only a fault loads this module."""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.core.config import ENVIRONMENT, OPTIONS, SECTION
from secure_xcom.core.errors import SettingInvalid, SettingMissing
from secure_xcom.core.suggest import closest, did_you_mean


def unknown_option(name: str) -> SettingInvalid:
    """Return the error about an option that does not exist.

    :param name: the option, or the whole name of an environment variable.
    """
    is_variable = name.upper().startswith(ENVIRONMENT)
    option = name[len(ENVIRONMENT) :] if is_variable else name
    remedy = f"remove it; the options are {', '.join(OPTIONS)}"
    if like := closest(option, OPTIONS):
        remedy = f"did you mean {ENVIRONMENT + like.upper() if is_variable else like!r}? Otherwise {remedy}"
    where = f"{name:.120}" if is_variable else f"[{SECTION}]"
    return SettingInvalid(f"unknown option {option.lower()!r:.80}", where=where, remedy=remedy)


def not_a_choice(text: str, choices: Sequence[str], where: str) -> SettingInvalid:
    """Return the error about a value that an option cannot have."""
    listed = ", ".join(choices)
    remedy = did_you_mean(text, choices, f"write one of {listed}")
    return SettingInvalid(f"{text!r:.40} is not one of {listed}", where=where, remedy=remedy)


def no_place(missing: Sequence[str]) -> SettingMissing:
    """Return the error about settings without a key or a store.

    :param missing: ``key_uris`` or ``store_uri``, or both.
    """
    examples = {"key_uris": "local:///path/keyring.json", "store_uri": "file:///path"}
    lines = " and ".join(f"`{name} = {examples[name]}`" for name in missing)
    return SettingMissing(
        f"{' and '.join(missing)} not set, so nothing can be sealed",
        where=f"section {SECTION}",
        remedy=f"write {lines} (or an access_policy) into [{SECTION}]; `secure-xcom init` prints them",
    )
