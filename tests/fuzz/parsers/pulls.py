"""A whole pull of a row: nothing is opened but what was pushed, by whoever asks for just that.

The rows are those of a deployment that is made anew in each process (`tests.fuzz.corpus`), with new keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Row
from tests.fuzz.corpus import Deployment
from tests.fuzz.harness import Harness
from tests.fuzz.judging import attempt, judge
from tests.fuzz.scratch import folder


@lru_cache
def _home() -> Deployment:
    home = Deployment(folder())
    home.lay({})
    return home


def _pull(data: bytes) -> None:
    home = _home()
    try:
        record = json.loads(data[1:])
    except (ValueError, RecursionError):
        return
    # The first byte says who asks; from a number on nobody does, as in Airflow's lazy sequences.
    victim = home.sealed[data[0]] if data[:1] and data[0] < len(home.sealed) else None
    row = Row(record, victim.asked if victim else None)
    values, _ = attempt(home, [row])
    judge(home, row, values)


def _seeds() -> Iterator[bytes]:
    for number, sealed in enumerate(_home().sealed):
        yield bytes([number]) + json.dumps(sealed.row).encode()
        yield b"\xff" + json.dumps(sealed.row).encode()


HARNESS = Harness((_pull,), (SecureXComError,), _seeds, words=("secure_xcom", "head", "keys", "seal", "payload"))
