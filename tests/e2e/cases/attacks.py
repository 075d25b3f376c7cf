"""What somebody does who can write into the database or the store, and what a pull answers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from airflow.sdk.execution_time.xcom import XCom

from secure_xcom.core.coordinate import path_segment

HEADER_BYTES, CHUNK_BYTES, TAG_BYTES = 56, 16_384, 16
PADDING = "p" * 40_000
"""Makes a payload of three chunks, where it is not compressed."""


class Place(NamedTuple):
    """The coordinate of a row."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str


class Intruder:
    """Somebody with the database's file and the store's folder, and no key.

    :param place: the row that is attacked; the others are reached from it.
    """

    def __init__(self, place: Place, earlier_run: str = "") -> None:
        self.place = place
        self.earlier_run = earlier_run
        self._root = Path(os.environ["SECURE_XCOM_E2E_ROOT"])

    def read(self, **other: Any) -> dict[str, Any]:
        """The reference at the row, or at one that differs from it."""
        query = "SELECT value FROM xcom WHERE dag_id=? AND run_id=? AND task_id=? AND map_index=? AND key=?"
        with self._database() as database:
            (text,) = database.execute(query, self.place._replace(**other)).fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def write(self, value: object, **other: Any) -> None:
        """Replace what stands at the row."""
        query = "UPDATE xcom SET value=? WHERE dag_id=? AND run_id=? AND task_id=? AND map_index=? AND key=?"
        with self._database() as database:
            done = database.execute(query, (json.dumps(value), *self.place._replace(**other)))
            if done.rowcount != 1:
                raise LookupError(f"{done.rowcount} rows at {self.place._replace(**other)}")

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._root / "airflow.db", timeout=30)
        try:
            with database:
                yield database
        finally:
            database.close()

    def copy_from(self, **other: Any) -> None:
        """Copy another row's reference to this one."""
        self.write(self.read(**other))

    def swap_with(self, **other: Any) -> None:
        """Exchange this row's reference and another one's."""
        mine, theirs = self.read(), self.read(**other)
        self.write(theirs)
        self.write(mine, **other)

    def edit(self, *path: str | int, to: object) -> None:
        """Change one field of the reference."""
        reference = self.read()
        part: Any = reference
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = to(part.get(path[-1])) if callable(to) else to
        self.write(reference)

    def remove(self, *path: str) -> None:
        """Remove one field of the reference."""
        reference = self.read()
        part: Any = reference
        for step in path[:-1]:
            part = part[step]
        del part[path[-1]]
        self.write(reference)

    def payload(self, change: Callable[[bytes], bytes], **other: Any) -> None:
        """Change the sealed payload, where it lies."""
        reference = self.read(**other)
        if "payload" in reference:
            reference["payload"] = base64.b64encode(change(base64.b64decode(reference["payload"]))).decode()
            self.write(reference, **other)
            return
        file = self.object_file(reference)
        file.write_bytes(change(file.read_bytes()))

    def object_file(self, reference: dict[str, Any]) -> Path:
        """The file of a reference's object."""
        below = str(reference["head"]["object"]).removeprefix(f"file://{self._root}/store/")
        return self._root / "store" / below

    def payload_of(self, **other: Any) -> bytes:
        """A sealed payload as it lies in the store or in the row."""
        reference = self.read(**other)
        if "payload" in reference:
            return base64.b64decode(reference["payload"])
        return self.object_file(reference).read_bytes()

    def put_folder_in_its_place(self) -> None:
        """Put a folder where the object lies."""
        file = self.object_file(self.read())
        file.unlink()
        file.mkdir()

    def kept(self) -> Path:
        """Where an older state of this row is kept."""
        return self._root / "tmp" / f"kept {self.place.task_id} {self.place.key}"

    def keep(self) -> None:
        """Make a copy of the row and its payload, to put it back later."""
        state = {"reference": self.read(), "payload": base64.b64encode(self.payload_of()).decode()}
        self.kept().write_text(json.dumps(state))

    def older(self) -> dict[str, Any]:
        """The copy that was made."""
        state: dict[str, Any] = json.loads(self.kept().read_text())
        return state

    def put_older_payload_back(self) -> None:
        """Put the older payload where the newer one lies."""
        older = base64.b64decode(self.older()["payload"])
        self.payload(lambda _: older)


Pull = Callable[[Any, str, Any], Any]
"""The task instance, the key, and the lazy sequence of a mapped task's values -> what was pulled."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    :ivar act: what is done to the row.
    :ivar refused_as: the class of the error that a pull of that row ends with; ``""`` if it opens.
    :ivar pull: how it is pulled.
    :ivar source: the task whose row is attacked.
    :ivar beside: other tasks whose row of the same key it needs.
    :ivar earlier: whether it needs the row of the earlier run.
    :ivar map_index: the map index of the row that is attacked.
    :ivar inline: whether the attack makes sense for payloads in the reference, and for ``objects``.
    :ivar in_process: whether `dag.test()` can do the pull: it has no asynchronous ones.
    """

    act: Callable[[Intruder], None]
    refused_as: str
    pull: Pull
    source: str = "push"
    beside: tuple[str, ...] = ()
    earlier: bool = False
    map_index: int = -1
    inline: bool = True
    objects: bool = True
    in_process: bool = True

    def needs(self, task_id: str) -> bool:
        """Whether a task is to push under this attack's key."""
        return task_id == self.source or task_id in self.beside


def _one(instance: Any, key: str, lazy: Any) -> Any:
    return instance.xcom_pull("push", key=key)


def _one_by_index(instance: Any, key: str, lazy: Any) -> Any:
    return instance.xcom_pull("push", key=key, map_indexes=-1)


def _prior(instance: Any, key: str, lazy: Any) -> Any:
    return instance.xcom_pull("push", key=key, include_prior_dates=True)


def _async_one(instance: Any, key: str, lazy: Any) -> Any:
    place = {"dag_id": instance.dag_id, "run_id": instance.run_id, "task_id": "push", "key": key}
    return asyncio.run(XCom.aget_one(map_index=-1, **place))


def _async_all(instance: Any, key: str, lazy: Any) -> Any:
    place = {"dag_id": instance.dag_id, "run_id": instance.run_id, "task_id": "push", "key": key}
    return asyncio.run(XCom.aget_all(**place))


def _mapped(map_indexes: Any) -> Pull:
    return lambda instance, key, lazy: instance.xcom_pull("many", key=key, map_indexes=map_indexes)


def _mapped_async(instance: Any, key: str, lazy: Any) -> Any:
    place = {"dag_id": instance.dag_id, "run_id": instance.run_id, "task_id": "many", "key": key}
    return asyncio.run(XCom.aget_all(**place))


def _mapped_all(instance: Any, key: str, lazy: Any) -> Any:
    return instance.xcom_pull("many", key=key)


def _lazily(take: Callable[[Sequence[Any]], Any]) -> Pull:
    return lambda instance, key, lazy: take(lazy)


def _flip(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        index = at % len(data)
        return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]

    return change


def _other_character(text: str) -> str:
    """The same text with one character changed, in its middle and within its alphabet."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


def _move(name: str, value: str) -> Callable[[Intruder], None]:
    """Edit the head so that it fits, the whole way through: head and object's path."""

    def act(intruder: Intruder) -> None:
        reference = intruder.read()
        reference["head"][name] = value
        if "object" in reference["head"]:
            source = intruder.object_file(reference)
            folder = {"dag_id": 4, "run_id": 3, "task_id": 2, "map_index": 1}[name]
            parts = list(source.parts)
            parts[-1 - folder] = path_segment(value)
            target = Path(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            reference["head"]["object"] = reference["head"]["object"].replace(
                "/".join(source.parts[-6:]), "/".join(parts[-6:])
            )
        other = {name: int(value) if name == "map_index" else value}
        intruder.write(reference, **other)

    return act


_TWO_CHUNKS = HEADER_BYTES + 2 * (CHUNK_BYTES + TAG_BYTES)
_OTHER_OBJECT = "00000000-0000-7000-8000-000000000000"


def _elsewhere(uri: str) -> str:
    return uri.replace("/store/", "/store/../store/")


def _missing(uri: str) -> str:
    return uri[: -len(_OTHER_OBJECT)] + _OTHER_OBJECT


ATTACKS: dict[str, Attack] = {
    # The others take references of this key as well.
    "nothing": Attack(lambda i: None, "", _one, beside=("other", "many")),
    "preview edited": Attack(lambda i: i.edit("preview", to={"harmless": "***"}), "", _one),
    # A reference of another row.
    "copied from another key": Attack(lambda i: i.copy_from(key="nothing"), "CoordinateMismatch", _one),
    "copied from another key, by index": Attack(
        lambda i: i.copy_from(key="nothing"), "CoordinateMismatch", _one_by_index
    ),
    "copied from another key, async one": Attack(
        lambda i: i.copy_from(key="nothing"), "CoordinateMismatch", _async_one, in_process=False
    ),
    "copied from another key, async all": Attack(
        lambda i: i.copy_from(key="nothing"), "CoordinateMismatch", _async_all, in_process=False
    ),
    "copied from another task": Attack(
        lambda i: i.copy_from(task_id="other"), "CoordinateMismatch", _one, beside=("other",)
    ),
    "copied from another task, prior dates": Attack(
        lambda i: i.copy_from(task_id="other"), "CoordinateMismatch", _prior, beside=("other",)
    ),
    "copied from another run": Attack(
        lambda i: i.copy_from(run_id=i.earlier_run), "CoordinateMismatch", _one, earlier=True
    ),
    "copied from another DAG": Attack(lambda i: i.copy_from(dag_id="tampered_other"), "CoordinateMismatch", _one),
    "copied from another DAG, prior dates": Attack(
        lambda i: i.copy_from(dag_id="tampered_other"), "CoordinateMismatch", _prior
    ),
    "copied from a mapped task": Attack(
        lambda i: i.copy_from(task_id="many", map_index=0), "CoordinateMismatch", _one, beside=("many",)
    ),
    # An edited head.
    "dag_id edited": Attack(lambda i: i.edit("head", "dag_id", to="other"), "CoordinateMismatch", _one),
    "run_id edited": Attack(lambda i: i.edit("head", "run_id", to="other"), "CoordinateMismatch", _one),
    "task_id edited": Attack(lambda i: i.edit("head", "task_id", to="other"), "CoordinateMismatch", _one),
    "map_index edited": Attack(lambda i: i.edit("head", "map_index", to="1"), "CoordinateMismatch", _one_by_index),
    "map_index edited, all": Attack(
        lambda i: i.edit("head", "map_index", to="1"), "ContextRefused", _one, inline=False
    ),
    "map_index edited, all, inline": Attack(
        lambda i: i.edit("head", "map_index", to="1"), "UnwrapRefused", _one, objects=False
    ),
    "map_index not canonical": Attack(lambda i: i.edit("head", "map_index", to="-01"), "ReferenceMalformed", _one),
    "key edited": Attack(lambda i: i.edit("head", "key", to="other"), "CoordinateMismatch", _one),
    "key edited to fit": Attack(
        lambda i: i.write(
            {**(found := i.read(key="nothing")), "head": {**found["head"], "key": "key edited to fit"}}
        ),
        "HeadTampered",
        _one,
    ),
    "task_id edited to fit": Attack(
        _move("task_id", "push"), "UnwrapRefused", _one, source="other", beside=("push",)
    ),
    "run_id edited to fit": Attack(
        lambda i: _move("run_id", i.place.run_id)(Intruder(i.place._replace(run_id=i.earlier_run))),
        "UnwrapRefused",
        _one,
        earlier=True,
    ),
    "compartment edited": Attack(lambda i: i.edit("head", "compartment", to="other"), "CompartmentUnknown", _one),
    "codec edited": Attack(lambda i: i.edit("head", "codec", to="bytes"), "HeadTampered", _one),
    "codec unknown": Attack(lambda i: i.edit("head", "codec", to="pickle"), "HeadTampered", _one),
    "compression edited": Attack(lambda i: i.edit("head", "compression", to="zstd"), "HeadTampered", _one),
    "created edited": Attack(lambda i: i.edit("head", "created", to="2020-01-01T00:00:00Z"), "HeadTampered", _one),
    "expires added": Attack(lambda i: i.edit("head", "expires", to="2999-01-01T00:00:00Z"), "HeadTampered", _one),
    "expired": Attack(lambda i: i.edit("head", "expires", to="2020-01-01T00:00:00Z"), "ReferenceExpired", _one),
    "readers added": Attack(lambda i: i.edit("head", "readers", to="*"), "ReferenceVersionUnknown", _one),
    "exclusive added": Attack(
        lambda i: i.edit("head", "exclusive", to="x"), "ReferenceVersionUnknown", _one, inline=False
    ),
    "exclusive added, inline": Attack(
        lambda i: i.edit("head", "exclusive", to="store"), "ReferenceMalformed", _one, objects=False
    ),
    # It is claimed, and then it does not open.
    "exclusive added, to be claimed": Attack(
        lambda i: i.edit("head", "exclusive", to="store"), "HeadTampered", _one, inline=False
    ),
    "object outside": Attack(
        lambda i: i.edit("head", "object", to=_elsewhere), "ContextRefused", _one, inline=False
    ),
    "object of another store": Attack(
        lambda i: i.edit("head", "object", to="file:///etc/hostname"), "ContextRefused", _one, inline=False
    ),
    "object of another task": Attack(
        lambda i: i.edit("head", "object", to=i.read(task_id="other", key="nothing")["head"]["object"]),
        "ContextRefused",
        _one,
        inline=False,
    ),
    "object of another key": Attack(
        lambda i: i.edit("head", "object", to=i.read(key="nothing")["head"]["object"]),
        "PayloadSwapped",
        _one,
        inline=False,
    ),
    "object that is not there": Attack(
        lambda i: i.edit("head", "object", to=_missing), "ObjectMissing", _one, inline=False
    ),
    "field removed": Attack(lambda i: i.remove("head", "codec"), "ReferenceMalformed", _one),
    "field added": Attack(lambda i: i.edit("head", "admin", to="yes"), "ReferenceMalformed", _one),
    "version edited": Attack(lambda i: i.edit("secure_xcom", to=2), "ReferenceVersionUnknown", _one),
    # An edited record around the head.
    "wrapped key edited": Attack(
        lambda i: i.edit("keys", to=lambda keys: [{**keys[0], "wrapped": _other_character(keys[0]["wrapped"])}]),
        "UnwrapRefused",
        _one,
    ),
    "wrapped key of another task": Attack(
        lambda i: i.edit("keys", to=i.read(task_id="other", key="nothing")["keys"]), "UnwrapRefused", _one
    ),
    "wrapped key of another try": Attack(
        lambda i: i.edit("keys", to=i.older()["reference"]["keys"]), "HeadTampered", _one
    ),
    "key URI edited": Attack(
        lambda i: i.edit("keys", to=lambda keys: [{**keys[0], "uri": "local:///tmp/mine.json"}]),
        "ContextRefused",
        _one,
    ),
    "no keys": Attack(lambda i: i.edit("keys", to=[]), "ReferenceMalformed", _one),
    "header edited": Attack(
        lambda i: i.edit("seal", "header", to=i.read(key="nothing")["seal"]["header"]), "PayloadSwapped", _one
    ),
    "size edited": Attack(lambda i: i.edit("seal", "size", to=lambda size: size + 1), "PayloadTruncated", _one),
    "plaintext in its place": Attack(lambda i: i.write({"value": "mine"}), "PlaintextRefused", _one),
    "plaintext text in its place": Attack(lambda i: i.write("mine"), "PlaintextRefused", _one_by_index),
    "plaintext class in its place": Attack(
        lambda i: i.write({"__classname__": "subprocess.Popen", "__version__": 1, "__data__": {"args": "id"}}),
        "PlaintextRefused",
        _one,
    ),
    # An edited payload.
    "payload's header edited": Attack(lambda i: i.payload(_flip(3)), "PayloadSwapped", _one),
    "payload's first chunk edited": Attack(lambda i: i.payload(_flip(HEADER_BYTES + 5)), "PayloadTampered", _one),
    "payload's second chunk edited": Attack(lambda i: i.payload(_flip(20_000)), "PayloadTampered", _one),
    "payload's last byte edited": Attack(lambda i: i.payload(_flip(-1)), "PayloadTampered", _one),
    "payload edited, async": Attack(
        lambda i: i.payload(_flip(-1)), "PayloadTampered", _async_one, in_process=False
    ),
    "payload truncated": Attack(lambda i: i.payload(lambda data: data[:-1]), "PayloadTruncated", _one),
    "payload truncated to two chunks": Attack(
        lambda i: i.payload(lambda data: data[:_TWO_CHUNKS]), "PayloadTruncated", _one
    ),
    "payload truncated to its header": Attack(
        lambda i: i.payload(lambda data: data[:HEADER_BYTES]), "PayloadTruncated", _one
    ),
    "payload emptied": Attack(lambda i: i.payload(lambda data: b""), "PayloadTruncated", _one, inline=False),
    "payload emptied, inline": Attack(
        lambda i: i.payload(lambda data: b""), "ReferenceMalformed", _one, objects=False
    ),
    "payload extended": Attack(lambda i: i.payload(lambda data: data + b"\0"), "PayloadTruncated", _one),
    "payload doubled": Attack(
        lambda i: i.payload(lambda data: data + data), "PayloadTruncated", _one, inline=False
    ),
    "payload of another key": Attack(
        lambda i: i.payload(lambda _: i.payload_of(key="nothing")), "PayloadSwapped", _one
    ),
    "payload of another task": Attack(
        lambda i: i.payload(lambda _: i.payload_of(task_id="other", key="nothing")), "PayloadSwapped", _one
    ),
    "older payload put back": Attack(lambda i: i.put_older_payload_back(), "PayloadSwapped", _one),
    "payload deleted": Attack(lambda i: i.object_file(i.read()).unlink(), "ObjectMissing", _one, inline=False),
    "payload a folder": Attack(lambda i: i.put_folder_in_its_place(), "ObjectMissing", _one, inline=False),
}
"""What is done to the rows of unmapped tasks, or of the record of any."""

_MAPPED_ACTS: dict[str, tuple[int, Callable[[Intruder], None]]] = {
    "index 3 copied to 0": (0, lambda i: i.copy_from(map_index=3)),
    "index 0 copied to 3": (3, lambda i: i.copy_from(map_index=0)),
    "0 and 3 swapped": (0, lambda i: i.swap_with(map_index=3)),
    "1 and 2 swapped": (1, lambda i: i.swap_with(map_index=2)),
}
_MAPPED_PULLS: dict[str, Pull] = {
    "one": _mapped(None),
    "list": _mapped([0, 1, 2, 3]),
    "all": _mapped_all,
    "async": _mapped_async,
    "lazy, each": _lazily(list),
    "lazy, whole slice": _lazily(lambda lazy: lazy[:]),
    "lazy, reversed slice": _lazily(lambda lazy: lazy[::-1]),
    "lazy, reversed": _lazily(lambda lazy: list(reversed(lazy))),
    "lazy, slices": _lazily(lambda lazy: [lazy[:2], lazy[2:]]),
    "lazy, first and last": _lazily(lambda lazy: [lazy[0], lazy[-1]]),
}


def _mapped_attacks() -> Iterator[tuple[str, Attack]]:
    for how, pull in _MAPPED_PULLS.items():
        here = how != "async"
        yield (
            f"mapped, nothing, {how}",
            Attack(lambda i: None, "", pull, "many", map_index=0, in_process=here),
        )
        for what, (index, act) in _MAPPED_ACTS.items():
            chosen = _mapped(index) if how == "one" else pull
            refused = Attack(act, "CoordinateMismatch", chosen, "many", map_index=index, in_process=here)
            yield f"mapped, {what}, {how}", refused


ATTACKS.update(_mapped_attacks())

_LIVE_TOO = (
    "nothing",
    "copied from another key",
    "copied from another task",
    "created edited",
    "wrapped key edited",
    "payload's last byte edited",
    "object of another key",
    "plaintext in its place",
    "mapped, 1 and 2 swapped, lazy, slices",
)
LIVE = {name: attack for name, attack in ATTACKS.items() if name in _LIVE_TOO or not attack.in_process}
"""What is tried with a real scheduler as well, or only there."""
