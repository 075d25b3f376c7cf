"""Evaluate the alarm rules on the events of a log. `State` is what one evaluation leaves for the next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from secure_xcom.core.access_policy.alarms import AT_ONCE, Alarm
from secure_xcom.core.access_policy.field_types import seconds
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.event_text import by, xcom
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.sinks.alarms.rules import Raised, is_reveal, raised, single

KEPT = timedelta(days=2)
"""How long the position in a chain is kept after the chain's last event."""

REVEAL_HERE = "here"
"""The rule of an event of `secure-xcom reveal --here`: the person's own rights decided."""

_CONSUMERS_MAX = 200_000


@dataclass(slots=True)
class State:
    """What one evaluation leaves for the next.

    :ivar since: the time of the last evaluation; empty before the first.
    :ivar chains: chain -> the next sequence number to evaluate, and the time of the last event.
    :ivar refusals: rule -> times and ids of the refusals that still count; for reveals by `_Counted.key`.
    :ivar sounding: the rules whose burst has not ended; for reveals by `_Counted.key`.
    :ivar consumers: the known readers, as ``(compartment, producing DAG, DAG, task)``.
    :ivar viewers: the known people who revealed values, as ``(compartment, person)``.
    """

    since: str = ""
    chains: dict[str, tuple[int, str]] = field(default_factory=dict)
    refusals: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    sounding: list[str] = field(default_factory=list)
    consumers: set[tuple[str, ...]] = field(default_factory=set)
    viewers: set[tuple[str, ...]] = field(default_factory=set)

    @classmethod
    def load(cls, path: Path) -> State:
        """Return the state of the last evaluation; a new one where there is no file.

        :raises CommandError: the file cannot be read.
        """
        try:
            record = json.loads(path.read_bytes())
            return cls(
                record["since"],
                {chain: (int(following), str(time)) for chain, (following, time) in record["chains"].items()},
                {name: [(time, event) for time, event in kept] for name, kept in record["refusals"].items()},
                list(record["sounding"]),
                {tuple(reader) for reader in record["consumers"]},
                # A release that knew no reveals left none.
                {tuple(viewer) for viewer in record.get("viewers", ())},
            )
        except FileNotFoundError:
            return cls()
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
        ) as error:  # fmt: skip
            raise CommandError(
                f"the state of the last evaluation cannot be read ({type(error).__name__})",
                where=str(path),
                remedy="restore or remove the file; without it, the next run learns the known readers again",
            ) from None

    def save(self, path: Path) -> None:
        """Write the state for the next evaluation.

        :raises CommandError: the file cannot be written.
        """
        # Older chains get no more events, so their positions are dropped.
        oldest = text_of(time_of(self.since) - KEPT)
        kept = {chain: position for chain, position in self.chains.items() if position[1] >= oldest}
        record = {
            "since": self.since,
            "chains": kept,
            "refusals": self.refusals,
            "sounding": self.sounding,
            "consumers": sorted(self.consumers),
            "viewers": sorted(self.viewers),
        }
        temporary = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(record))
            temporary.replace(path)
        except OSError as error:
            raise CommandError(
                f"the state of the evaluation cannot be written ({type(error).__name__})",
                where=str(path),
                remedy="name another file with --state",
            ) from None


class _Counted(NamedTuple):
    """One event of a rule over many: refusals count together, and reveals by person.

    :ivar key: under which it is counted. :ivar who: who did it, for people.
    """

    time: str
    event: str
    who: str
    compartment: str
    key: str


class Evaluator:
    """Apply rules to events in the order of the log: call `take` for each event, then `bursts` once."""

    def __init__(self, alarms: Sequence[Alarm], state: State) -> None:
        self._alarms = [alarm for alarm in alarms if not (alarm.at_once and alarm.when in AT_ONCE)]
        self._state = state
        # In the first evaluation every reader is new, so they are learned and no alarm is raised.
        self._learning = not state.since
        self._opening_chains: set[tuple[str, str]] = set()
        self._counted: dict[str, list[_Counted]] = {}

    def take(self, record: Mapping[str, Any]) -> Iterator[Raised]:
        """Return the alarms that an event raises; an event of an earlier evaluation raises none."""
        chain, sequence, time = record.get("chain"), record.get("sequence"), record.get("time")
        if not isinstance(chain, str) or type(sequence) is not int or not isinstance(time, str):
            return
        following, _ = self._state.chains.get(chain, (0, ""))
        if sequence < following:
            return
        self._state.chains[chain] = (sequence + 1, time)
        for alarm in self._alarms:
            if alarm.compartments is None or record.get("compartment") in alarm.compartments:
                yield from self._apply(alarm, record, time)
        self._learn(record)

    def _apply(self, alarm: Alarm, record: Mapping[str, Any], time: str) -> Iterator[Raised]:
        if alarm.when == "refusals":
            if record.get("outcome") == "refused":
                self._count(alarm, record, time, alarm.name)
        elif alarm.when == "reveals":
            if is_reveal(record):
                # A name of a rule has no line break, so that no person's name can be read as another rule.
                self._count(alarm, record, time, f"{alarm.name}\n{by(record)}")
        elif alarm.when == "first_reveal":
            if (viewer := _viewer(record)) and viewer not in self._state.viewers and not self._learning:
                compartment, person = viewer
                yield raised(alarm, record, f"{person} revealed a value of {compartment} for the first time")
        elif alarm.when == "first_consumer":
            if (reader := _reader(record)) and reader not in self._state.consumers and not self._learning:
                _, producer, dag, task = reader
                yield raised(alarm, record, f"{dag}/{task} read from {producer} for the first time")
        elif alarm.when == "opened":
            yield from self._opening(alarm, record)
        else:
            yield from single(alarm, record)

    def _opening(self, alarm: Alarm, record: Mapping[str, Any]) -> Iterator[Raised]:
        # One command may open thousands of XComs (migrate-back); its events are in one chain and raise one alarm.
        command = (alarm.name, str(record.get("chain")))
        by_hand = record.get("action") == "open" or is_reveal_here(record)
        if by_hand and command not in self._opening_chains:
            self._opening_chains.add(command)
            did = "opened" if record.get("outcome") == "ok" else "tried to open"
            yield raised(alarm, record, f"{by(record) or 'somebody'} {did} {xcom(record)} by hand")

    def _count(self, alarm: Alarm, record: Mapping[str, Any], time: str, key: str) -> None:
        counted = _Counted(time, str(record.get("id")), by(record), str(record.get("compartment")), key)
        self._counted.setdefault(alarm.name, []).append(counted)

    def bursts(self) -> Iterator[Raised]:
        """Return the alarms of all counted events, by time, since hosts' files are read one after the other."""
        for alarm in self._alarms:
            for counted in sorted(self._counted.pop(alarm.name, ())):
                yield from self._burst(alarm, counted)

    def _burst(self, alarm: Alarm, counted: _Counted) -> Iterator[Raised]:
        oldest = text_of(time_of(counted.time) - timedelta(seconds=seconds(alarm.within)))
        kept = [earlier for earlier in self._state.refusals.get(counted.key, []) if earlier[0] > oldest]
        # A new burst may raise the alarm again; with `over: 0` the burst ends with a time without such events.
        if len(kept) <= alarm.over and counted.key in self._state.sounding:
            self._state.sounding.remove(counted.key)
        kept.append((counted.time, counted.event))
        self._state.refusals[counted.key] = kept[-(alarm.over + 10) :]
        if len(kept) > alarm.over and counted.key not in self._state.sounding:
            self._state.sounding.append(counted.key)
            text = f"{len(kept)} refusals within {alarm.within}, the last of {counted.who or 'an unknown task'}"
            if alarm.when == "reveals":
                text = f"{len(kept)} reveals within {alarm.within} by {counted.who or 'an unknown person'}"
            events = tuple(number for _, number in kept[-10:])
            compartment = counted.compartment if alarm.compartments else None
            yield Raised(alarm.name, alarm.when, counted.time, text, events, compartment)

    def _learn(self, record: Mapping[str, Any]) -> None:
        reader = _reader(record)
        if reader and len(self._state.consumers) < _CONSUMERS_MAX:
            self._state.consumers.add(reader)
        viewer = _viewer(record)
        if viewer and len(self._state.viewers) < _CONSUMERS_MAX:
            self._state.viewers.add(viewer)


def _reader(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    producer, consumer = record.get("producer"), record.get("consumer")
    if record.get("action") != "pull" or record.get("outcome") != "ok":
        return None
    if not isinstance(producer, dict) or not isinstance(consumer, dict):
        return None
    reader = (record.get("compartment"), producer.get("dag_id"), consumer.get("dag_id"), consumer.get("task_id"))
    return tuple(map(str, reader))


def is_reveal_here(record: Mapping[str, Any]) -> bool:
    """Return whether somebody used `reveal --here`, with rights of their own as for `open`."""
    return record.get("action") == "reveal" and record.get("rule") == REVEAL_HERE


def _viewer(record: Mapping[str, Any]) -> tuple[str, str] | None:
    person = by(record)
    return (str(record.get("compartment")), person) if is_reveal(record) and person else None
