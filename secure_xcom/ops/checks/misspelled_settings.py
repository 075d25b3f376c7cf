"""Find settings that nobody reads, since the name of their section or variable is misspelled."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from secure_xcom.core.config import ENVIRONMENT, OPTIONS, SECTION
from secure_xcom.core.findings import Finding

# A letter or two of a section or of a long variable may differ.
_LIKE_SECTION, _LIKE_VARIABLE = 0.8, 0.92


def misspelled_settings(
    sections: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Yield sections and variables that are meant for this product and that Airflow does not pass to it.

    An unknown option in the right section is an error of the settings themselves.

    :param sections: those of airflow.cfg; :param environment: by default that of this process.
    """
    for section in sections:
        if section != SECTION and get_close_matches(_bare(section), [_bare(SECTION)], cutoff=_LIKE_SECTION):
            yield _unread(f"[{section}]", f"nothing reads the section [{section:.80}]", f"[{SECTION}]")
    wanted = {_bare(f"{ENVIRONMENT}{option}"): f"{ENVIRONMENT}{option.upper()}" for option in OPTIONS}
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(ENVIRONMENT) or "XCOM" not in _bare(name):
            continue
        if like := get_close_matches(_bare(name), wanted, n=1, cutoff=_LIKE_VARIABLE):
            yield _unread(name, "nothing reads the variable", wanted[like[0]])


def sections_of_airflow() -> list[str]:
    """Return the sections of this machine's airflow.cfg; none where Airflow is not installed."""
    from secure_xcom.deployment import airflow_is_installed

    if not airflow_is_installed():
        return []
    from airflow.configuration import conf

    return list(conf.sections())


def _unread(subject: str, text: str, meant: str) -> Finding:
    return Finding(subject[:120], "warning", text, f"did you mean {meant}? Otherwise remove it")


def _bare(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())
