"""Open and decode a payload; `Masker`, which the pipeline calls, registers the secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secure_xcom.core.codecs import Codecs, Encoded, Parts
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.suspects import suspects
from secure_xcom.core.pipeline.decide import Admitted, Row
from secure_xcom.core.pipeline.open_payload import opened

if TYPE_CHECKING:
    from secure_xcom.core.masking.secrets_of_value import Secrets
    from secure_xcom.core.masking.walk import Leaves

# Less is searched faster than a mark is made.
_MARK_FROM_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Maskable:
    """A value as the masker sees it.

    :ivar structure: its plain structure.
    :ivar key: the XCom's key.
    :ivar known: its leaves that are secret by a name; None where they have not been looked for.
    """

    structure: object = field(repr=False)
    key: str
    known: Leaves = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Revealed:
    """A decoded value that has not been masked yet.

    :ivar size: how many bytes it was before it was decoded; 0 for a value without a reference.
    """

    value: Any = field(repr=False)
    size: int
    maskable: Maskable = field(repr=False)


class Masker:
    """Registers the sensitive strings of values with a masker.

    :param cap: how many strings of one push or pull are registered at most.
    :param register: does it; without it, with Airflow's masker.
    """

    def __init__(self, names: SensitiveNames, cap: int, register: Callable[[Secrets], None] | None = None) -> None:
        self.names = names
        self._cap = cap
        self._register = register

    def maskable(self, structure: object, key: str, parts: Parts | None) -> Maskable:
        """Return a value as the masker sees it.

        :param parts: the strings and names in the value, where its codec knows them.
        """
        found = None if parts is None else suspects(parts, self.names)
        if found is None:
            return Maskable(structure, key, None if parts is None else ())
        from secure_xcom.core.masking.walk import plain_leaves

        return Maskable(structure, key, tuple(plain_leaves(structure, found, self.names)))

    def marked(self, encoded: Encoded, value: Maskable, max_bytes: int) -> Encoded:
        """Return an encoded value with a mark for its pulls, where nothing secret was found in it."""
        if value.known == () and encoded.size >= _MARK_FROM_BYTES:
            from secure_xcom.core.codecs.search_mark import marked

            return marked(encoded, self.names, max_bytes)
        return encoded

    def mask(self, values: Sequence[Maskable], mode: str) -> None:
        """Register the sensitive strings of several values in one call, within one cap.

        :param mode: ``named``, ``all`` or ``none``.
        """
        searched = [
            (value.structure, value.key, value.known)
            for value in values
            if mode == "all" or value.known != () or self.names.matches(value.key)
        ]
        if not searched:
            return
        # Most values hold nothing that has to be registered.
        from secure_xcom.core.masking.secrets_of_value import secrets_of_all

        secrets = secrets_of_all(searched, names=self.names, mode=mode, cap=self._cap)
        if secrets.values or secrets.dropped:
            if self._register is None:
                from secure_xcom.core.masking.masker_registration import register

                self._register = register
            self._register(secrets)


def reveal_plain(row: Row, codecs: Codecs) -> Revealed:
    """Return a value that was never sealed, and that the settings let pass."""
    value = codecs.restore(row.value, where=str(row.asked or ""))
    return Revealed(value, 0, Maskable(row.value, row.asked.key if row.asked else ""))


def open_and_reveal(
    entry: Admitted, data_key: bytes, pieces: Iterable[bytes], *, codecs: Codecs, masker: Masker, max_bytes: int
) -> Revealed:
    """Open and decode one payload.

    The encoded bytes end here, so that a large value is not in memory twice while it is masked.

    :raises SealError: the payload is not the one that was sealed with this head; :raises CodecError: it cannot be
        decoded.
    """
    head = entry.reference.head
    where = str(head.coordinate)
    data = opened(entry.reference, data_key, pieces, max_bytes=max_bytes, where=where)
    value, structure, parts = codecs.decode(head.codec, data, max_bytes=max_bytes, where=where)
    return Revealed(value, len(data), masker.maskable(structure, head.key, parts))
