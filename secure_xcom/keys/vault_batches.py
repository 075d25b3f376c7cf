"""Transit's batches: how large one may be, and how its results are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secure_xcom.connections.vault.http import Answer

BATCH_ENTRIES = 200
"""OpenBao takes 1,000 strings in a request (max_request_json_strings), and an entry has four."""

BATCH_BYTES = 1 << 20
"""A thirty-second of the request that Vault takes (max_request_size, 32 MiB)."""


def batches(entries: Sequence[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """The entries in batches within both bounds, in order."""
    batch: list[dict[str, str]] = []
    size = 0
    for entry in entries:
        # The names, quotes and commas around the two texts take under 50 bytes.
        length = len(entry["ciphertext"]) + len(entry["context"]) + 50
        if batch and (len(batch) == BATCH_ENTRIES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def results_of(answer: Answer, count: int) -> list[Mapping[str, Any]] | None:
    """A batch's results, or None where Vault refused the batch as a whole.

    Where every entry of a batch fails, Vault answers 400 and holds the results nevertheless.
    """
    results = answer.data.get("batch_results")
    if not isinstance(results, list) or len(results) != count or not all(isinstance(one, dict) for one in results):
        return None
    return results
