"""Which names say that what they name is secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

DEFAULT_NAMES = frozenset(
    {
        "access_key",
        "access_token",
        "api_key",
        "apikey",
        "auth_header",
        "authorization",
        "bearer",
        "connection_string",
        "dsn",
        "keyfile_dict",
        "passphrase",
        "passwd",
        "password",
        "private_key",
        "proxies",
        "proxy",
        "proxy_password",
        "secret",
        "service_account",
        "service_key",
        "token",
        "webhook_url",
    }
)
"""Airflow 3.3's own (airflow/sdk/_shared/secrets_masker, DEFAULT_SENSITIVE_FIELDS), for use without Airflow."""

DEFAULT_MIN_LENGTH = 5
"""Airflow's default of ``[logging] min_length_masked_secret``, in characters."""

# A single word shorter than this turns up by chance when words are joined ("records_now" holds "dsn").
_JOINED_WORD_MIN = 8
_CACHE_SIZE = 4096

_ACRONYM = re.compile(r"([A-Z]+)([A-Z][a-z])")
_HUMP = re.compile(r"([a-z0-9])([A-Z])")
_NOT_WORD = re.compile(r"[\W_]+")
# What joins words, and has a letter in JSON.
_LETTER_ESCAPES = (rb"\b", rb"\f", rb"\n", rb"\r", rb"\t")
_NO_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum())


class SensitiveNames:
    """A set of sensitive names, matched as Airflow's masker does and on camelCase and joined words as well.

    :param names: in any case and spelling; empty ones are ignored.
    :param min_length: characters a string must have for Airflow's masker to take it.
    """

    def __init__(self, names: Iterable[str], *, min_length: int = DEFAULT_MIN_LENGTH) -> None:
        self.names = frozenset(name for name in map(_snake, names) if name.strip("_"))
        self.min_length = max(1, min_length)
        joined = {name: name.replace("_", "") for name in self.names}
        self._joined = frozenset(
            short for name, short in joined.items() if "_" in name.strip("_") or len(short) >= _JOINED_WORD_MIN
        )
        # What `may_be_in` looks for. A name that is not ASCII has forms that lower-casing bytes does not find.
        self._in_bytes = [name.replace("_", "").encode() for name in sorted(self.names) if name.isascii()]
        self._only_ascii = len(self._in_bytes) == len(self.names)
        self._decide = lru_cache(_CACHE_SIZE)(self._holds_a_name)

    @classmethod
    def from_airflow(cls, extra: Iterable[str] = ()) -> SensitiveNames:
        """Airflow's defaults, ``[core] sensitive_var_conn_names``, and more.

        The built-in defaults stay in, so that an older Airflow with a shorter list does not show more.
        """
        from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS

        conf = _airflow_conf()
        configured = conf.get("core", "sensitive_var_conn_names", fallback="") or ""
        return cls(
            {*DEFAULT_NAMES, *DEFAULT_SENSITIVE_FIELDS, *configured.split(","), *extra},
            min_length=conf.getint("logging", "min_length_masked_secret", fallback=DEFAULT_MIN_LENGTH),
        )

    def matches(self, name: object) -> bool:
        """Whether what this name names is secret."""
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        return isinstance(name, str) and self._decide(name)

    def may_be_in(self, text: bytes) -> bool:
        """Whether any value within a JSON text may be secret, by a name anywhere in it or as a URL's password.

        False is certain; True only says that the value has to be walked. Made for large values without secrets,
        most of which need no walk then: what joins words, an escape as well, is dropped, so that every spelling
        of a name that `matches` knows, in a key, in a text or in JSON within JSON, is one run of letters.
        """
        if not (self._only_ascii and text.isascii()) or b"\\u" in text:
            return True
        if b"\\" in text:
            for escape in _LETTER_ESCAPES:
                # Behind two, it is a letter behind a backslash, or an escape of JSON within JSON.
                if b"\\" + escape in text:
                    return True
                text = text.replace(escape, b"")
        # JSON may write a slash as an escape.
        if b"@" in text and b"://" in text.replace(b"\\", b""):
            return True
        letters = text.lower().translate(None, _NO_LETTERS)
        return any(name in letters for name in self._in_bytes)

    def __repr__(self) -> str:
        return f"SensitiveNames({len(self.names)} names)"

    def _holds_a_name(self, name: str) -> bool:
        # Airflow's own rule comes first, so that nothing which it hides is shown.
        plain = _NOT_WORD.sub("_", name.strip().lower())
        if any(secret in plain for secret in self.names):
            return True
        # Without its joints privateKey is private-key is PRIVATE_KEY.
        together = plain.replace("_", "")
        return any(secret in together for secret in self._joined)


def _snake(name: str) -> str:
    """``privateKey``, ``APIKey``, ``db-password``, ``access token`` -> lower-case words joined by ``_``."""
    split = _HUMP.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", name.strip()))
    return _NOT_WORD.sub("_", split).lower()


def _airflow_conf() -> Any:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:
        # Airflow 3.1 has it only here, and of another class.
        from airflow import configuration

        return configuration.conf
    return conf
