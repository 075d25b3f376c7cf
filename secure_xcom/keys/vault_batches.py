"""Transit's batches: their limits and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secure_xcom.connections.vault.http import Answer

BATCH_ENTRIES = 200
"""OpenBao accepts 1,000 strings in a request (max_request_json_strings), and an entry has four."""

BATCH_BYTES = 1 << 20
"""1/32 of the largest request that Vault accepts (max_request_size, 32 MiB)."""


def batches(entries: Sequence[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Yield the entries in batches within both limits, in order."""
    batch: list[dict[str, str]] = []
    size = 0
    for entry in entries:
        # The names, quotes and commas around the two texts take less than 50 bytes.
        length = len(entry["ciphertext"]) + len(entry["context"]) + 50
        if batch and (len(batch) == BATCH_ENTRIES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def results_of(answer: Answer, count: int) -> list[Mapping[str, Any]] | None:
    """Return a batch's results, or None if Vault refused the batch as a whole.

    If every entry of a batch fails, Vault responds with 400 and includes the results.
    """
    results = answer.data.get("batch_results")
    if isinstance(results, list) and len(results) == count and all(isinstance(entry, dict) for entry in results):
        return results
    return None
