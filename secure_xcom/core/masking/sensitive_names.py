"""Decide which names say that what they name is secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

DEFAULT_NAMES = frozenset({
    "access_key", "access_token", "api_key", "apikey", "auth_header", "authorization", "bearer",
    "connection_string", "dsn", "keyfile_dict", "passphrase", "passwd", "password", "private_key", "proxies",
    "proxy", "proxy_password", "secret", "service_account", "service_key", "token", "webhook_url",
})  # fmt: skip
"""Airflow 3.3's own (airflow/sdk/_shared/secrets_masker, DEFAULT_SENSITIVE_FIELDS), for use without Airflow."""

DEFAULT_MIN_LENGTH = 5
"""Airflow's default of ``[logging] min_length_masked_secret``, in characters."""

# A single word shorter than this turns up by chance when words are joined ("records_now" holds "dsn").
_JOINED_WORD_MIN = 8
_CACHE_SIZE = 4096
COUNTED = ("tokens", "secrets", "passwords", "keys")
"""Plurals under which a number is a count."""

_ACRONYM = re.compile(r"([A-Z]+)([A-Z][a-z])")
_HUMP = re.compile(r"([a-z0-9])([A-Z])")
_NOT_WORD = re.compile(r"[\W_]+")


class SensitiveNames:
    """A set of sensitive names, matched as Airflow's masker does and on camelCase and joined words as well.

    What says more wins: ``not_sensitive`` over ``listed`` over the built-in exceptions
    (`secure_xcom.core.masking.name_exceptions`) over ``names``.

    :param names: in any case and spelling; empty ones are ignored.
    :param listed: more names, which the deployment lists itself: no built-in exception applies to them.
    :param not_sensitive: names and globs (``*``, ``?``) of whole names that are not secret.
    :param min_length: characters a string must have for Airflow's masker to take it.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        listed: Iterable[str] = (),
        not_sensitive: Iterable[str] = (),
        min_length: int = DEFAULT_MIN_LENGTH,
    ) -> None:
        self._listed = _Words(listed)
        self._all = _Words((*names, *self._listed.names))
        self.names, self.joined, self.listed = self._all.names, self._all.joined, self._listed.names
        self.min_length = max(1, min_length)
        self.not_sensitive = tuple(not_sensitive)
        self._decide = lru_cache(_CACHE_SIZE)(self._is_sensitive)

    def matches(self, name: object) -> bool:
        """Return whether what this name names is secret."""
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        return isinstance(name, str) and self._decide(name)

    def hides(self, name: object, value: object) -> bool:
        """Return whether this value is secret under this name: a number under a plural (``tokens``) is a count."""
        return self.matches(name) and not (isinstance(value, (int, float)) and self.counts(str(name)))

    def counts(self, name: str) -> bool:
        """Return whether a number under this sensitive name is a count."""
        return _snake(name).rstrip("_").endswith(COUNTED) and not self._listed.are_in(name)

    def __repr__(self) -> str:
        return f"SensitiveNames({len(self.names)} names)"

    def _is_sensitive(self, name: str) -> bool:
        if not self._all.are_in(name):
            return False
        from secure_xcom.core.masking.name_exceptions import is_exception, is_listed

        snake = _snake(name).strip("_")
        if is_listed(snake, self.not_sensitive, _snake):
            return False
        return self._listed.are_in(name) or not is_exception(snake, self._all.are_in)


class _Words:
    """Names, looked for within other names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(name for name in map(_snake, names) if name.strip("_"))
        joined = {name: name.replace("_", "") for name in self.names}
        self.joined = frozenset(
            short for name, short in joined.items() if "_" in name.strip("_") or len(short) >= _JOINED_WORD_MIN
        )

    def are_in(self, name: str) -> bool:
        # Airflow's own rule comes first, so that nothing which it hides is shown.
        plain = _NOT_WORD.sub("_", name.strip().lower())
        if any(secret in plain for secret in self.names):
            return True
        # Without its joints privateKey is private-key is PRIVATE_KEY.
        together = plain.replace("_", "")
        return any(secret in together for secret in self.joined)


def _snake(name: str) -> str:
    """Spell ``privateKey``, ``APIKey`` or ``access token`` as lower-case words joined by ``_``."""
    split = _HUMP.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", name.strip()))
    return _NOT_WORD.sub("_", split).lower()
