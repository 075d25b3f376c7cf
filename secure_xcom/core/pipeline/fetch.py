"""The fetch stage: get sealed payloads and unwrap their data keys at the same time.

Pulls, break-glass reads and migrations fetch through it; `secure_xcom.core.pipeline.open_payload` opens what it
returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.decide import Admitted
from secure_xcom.core.reference import Reference
from secure_xcom.keys.data_keys import Candidates, DataKeys, Unwrapped
from secure_xcom.sinks.recording import Record
from secure_xcom.stores import Store
from secure_xcom.stores.read_many import Payload, read_all

log = logging.getLogger(__name__)


class Fetched(NamedTuple):
    """What was fetched, in the order of the references.

    :ivar keys: the data key of each, or why no key service gave it; None for a value without a reference.
    :ivar payloads: the sealed pieces of each, read while they are taken.
    """

    keys: list[Unwrapped | SecureXComError | None]
    payloads: Iterator[Iterable[bytes]]


def payload_of(reference: Reference, place: tuple[str, str] | None, open_store: Callable[[str], Store]) -> Payload:
    """Return where the payload of a reference is.

    :param place: the store's URI and the object's path below it; None for an inline payload.
    :raises ConfigurationError: the store cannot be opened.
    """
    if place is None:
        return Payload(reference.size, inline=reference.payload or b"")
    store_uri, path = place
    return Payload(reference.size, open_store(store_uri), path)


def fetch(
    payloads: Sequence[Payload],
    candidates: Sequence[Candidates | None],
    keys: DataKeys,
    *,
    beside: Executor | None = None,
) -> Fetched:
    """Unwrap the data keys, and start to get the payloads meanwhile.

    :param candidates: the wraps that may be asked for, of each payload; None where it has no data key.
    :param beside: runs the first request to the stores. Without it the stores are asked after the key services.
    """
    pieces = read_all(payloads)
    answers: list[Unwrapped | SecureXComError | None] = [
        None if wraps is None else keys.cached(wraps) for wraps in candidates
    ]
    missing = [
        (index, wraps) for index, wraps in enumerate(candidates) if wraps is not None and answers[index] is None
    ]
    if missing:
        # The key services are asked on this thread, because Airflow's connections are looked up on it; the store,
        # whose client was made on it as well, starts to fetch on another one.
        started = None if beside is None else beside.submit(next, pieces)
        unwrapped = keys.unwrap_many([wraps for _, wraps in missing])
        for (index, _), answer in zip(missing, unwrapped, strict=True):
            answers[index] = answer
        if started is not None:
            pieces = _begun(started, pieces)
    log.debug("Data keys: %d unwrapped now, %d in the cache", len(missing), len(keys.cache))
    return Fetched(answers, pieces)


def fetch_admitted(
    admitted: Sequence[Admitted | None],
    keys: DataKeys,
    open_store: Callable[[str], Store],
    beside: Executor,
    record: Record,
) -> Iterator[tuple[Unwrapped | None, Iterable[bytes]]]:
    """Return the data key and the sealed pieces of each reference that may be opened, in order.

    :raises SecureXComError: a store cannot be opened, or no key service gives a data key.
    """
    payloads = []
    for index, entry in enumerate(admitted):
        with record.at(index):
            payloads.append(Payload(0) if entry is None else payload_of(entry.reference, entry.place, open_store))
    fetched = fetch(
        payloads, [None if entry is None else entry.candidates for entry in admitted], keys, beside=beside
    )
    for draft, answer in zip(record.drafts, fetched.keys, strict=True):
        # All of them before the first error, because what was unwrapped is recorded also where another fails.
        if isinstance(answer, Unwrapped):
            draft.opened_by, draft.cache_hit = answer.uri, answer.cached
    data_keys: list[Unwrapped | None] = []
    for index, answer in enumerate(fetched.keys):
        with record.at(index) as draft:
            data_keys.append(None if answer is None else data_key_of(answer, str(draft.coordinate)))
    return zip(data_keys, fetched.payloads, strict=True)


def data_key_of(answer: Unwrapped | SecureXComError, where: str) -> Unwrapped:
    """Return a fetched data key.

    :raises SecureXComError: no key service gave it.
    """
    if isinstance(answer, SecureXComError):
        raise type(answer)(answer.what, where=f"{answer.where} {where}".strip(), remedy=answer.remedy)
    return answer


def _begun(started: Future[Iterable[bytes]], payloads: Iterator[Iterable[bytes]]) -> Iterator[Iterable[bytes]]:
    yield started.result()
    yield from payloads
