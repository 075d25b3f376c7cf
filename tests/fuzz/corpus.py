"""What is mutated: references and payloads that the product itself has made."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, Coordinate
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
from secure_xcom.sinks.access_log import AccessLog
from tests.support.doubles import MemorySink, MemoryStore

KEY_URIS = ("local:///keys/first.json", "local:///keys/second.json")
STORE_URI = "memory-store://fuzz"
CANARY = "canary-2f1c-value"
INLINE_MAX_BYTES = 200
MAX_BYTES = 1 << 20
_RUNS = ("manual__2026-01-01T00:00:00+00:00", "r/2")


@dataclass(frozen=True)
class Sealed:
    """One XCom as it lies: the row, what was pushed, and its payload wherever it is."""

    coordinate: Coordinate
    row: dict[str, Any]
    value: object
    payload: bytes

    @property
    def asked(self) -> Asked:
        """The question to which this row is the answer."""
        at = self.coordinate
        return Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index)

    @property
    def path(self) -> str | None:
        """The object's path in the store, None for an inline payload."""
        uri = self.row["head"].get("object")
        return None if uri is None else str(uri).removeprefix(f"{STORE_URI}/")


class Deployment:
    """A keyring of two versions, a second one, a store, and XComs of every kind in it."""

    def __init__(self, folder: Path) -> None:
        self.sink = MemorySink()
        self._store = MemoryStore(STORE_URI)
        self._services: dict[str, LocalKeyring] = {}
        for uri in KEY_URIS:
            path = folder / Path(uri).name
            create_keyring(str(path))
            self._services[uri] = LocalKeyring(f"local://{path}")
        self.sealed = [*self._push_all()]
        # After a rotation there are wraps of two versions, and of one coordinate an older and a newer XCom.
        rotate_keyring(str(folder / Path(KEY_URIS[0]).name))
        self.sealed += self._push_all()
        self._objects = self._store.objects
        self.reader = self.process()

    def process(self) -> Pipeline:
        """A pipeline that keeps no data key, so that every pull asks the key service."""
        return Pipeline(
            Settings(key_cache_seconds=0, inline_max_bytes=INLINE_MAX_BYTES, max_bytes=MAX_BYTES),
            AccessPolicy.single(KEY_URIS, STORE_URI),
            AccessLog([self.sink], version="fuzz"),
            SensitiveNames(("password",)),
            Codecs(lambda value: value, lambda structure: structure),
            register=lambda secrets: None,
            services=self._services.__getitem__,
            stores=lambda uri: self._store,
        )

    def lay(self, changes: dict[str, bytes | None]) -> None:
        """Have the store hold what was put and these changes; None takes an object away."""
        objects = {**self._objects, **changes}
        self._store.objects = {path: raw for path, raw in objects.items() if raw is not None}

    def _push_all(self) -> list[Sealed]:
        pipeline = self.process()
        made = []
        for coordinate, value in _values():
            row = json.loads(json.dumps(pipeline.push([Push(coordinate, copy.deepcopy(value))])[0]))
            made.append(Sealed(coordinate, row, value, b""))
        return [self._with_payload(sealed) for sealed in made]

    def _with_payload(self, sealed: Sealed) -> Sealed:
        import base64

        path = sealed.path
        raw = base64.b64decode(sealed.row["payload"]) if path is None else self._store.objects[path]
        return Sealed(sealed.coordinate, sealed.row, sealed.value, raw)


def _values() -> list[tuple[Coordinate, object]]:
    """Inline and stored, compressed and not, of one chunk and of several."""
    noise = Random(7)
    small = {"user": CANARY, "password": f"{CANARY}-secret", "amount": 3}
    return [
        (Coordinate("orders", _RUNS[0], "extract", -1, "return_value"), small),
        (Coordinate("orders", _RUNS[0], "extract", -1, "other"), [CANARY, None, 1.5]),
        # Its ids stand in the record as well, where the scheduler reads them.
        (Coordinate("orders", _RUNS[0], "choose", -1, "skipmixin_key"), {"followed": ["load", CANARY]}),
        (Coordinate("orders", _RUNS[1], "extract", -1, "return_value"), {CANARY: noise.randbytes(300).hex()}),
        (Coordinate("orders", _RUNS[0], "load", 0, "return_value"), f"{CANARY} " * 40),
        (Coordinate("orders", _RUNS[0], "load", 1, "return_value"), CANARY.encode() + noise.randbytes(500)),
        (Coordinate("orders", _RUNS[0], "load", 2, "return_value"), CANARY.encode() + noise.randbytes(40_000)),
        (Coordinate("other/dag", _RUNS[0], "extract", -1, "return_value"), noise.randbytes(16_384)),
        (Coordinate("other/dag", _RUNS[1], "größe", 7, "key"), None),
    ]
