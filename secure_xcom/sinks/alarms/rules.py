"""Holding events against the rules. What has to be remembered between two looks is in `State`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.alarms import AT_ONCE, Alarm
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.errors import CommandError
from secure_xcom.core.event_text import by, xcom

KEPT = timedelta(days=2)
"""How long a chain's place is remembered after its last event."""

_CONSUMERS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm.

    :ivar text: what happened, for people; ids only. :ivar events: ids of events, ten at the most.
    """

    alarm: str
    when: str
    time: str
    text: str
    events: tuple[str, ...] = ()
    compartment: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What a webhook and a callback are given."""
        return {"secure_xcom_alarm": 1, **asdict(self), "events": list(self.events)}


@dataclass(slots=True)
class State:
    """What is remembered between two looks.

    :ivar chains: chain -> the next number to look at, and the time of the last event.
    :ivar refusals: rule -> times and ids of the refusals that still count, and whether the alarm is on.
    :ivar consumers: who has read from whom, as ``[compartment, producing DAG, DAG, task]``.
    :ivar since: the time of the last look; empty before the first.
    """

    since: str = ""
    chains: dict[str, tuple[int, str]] = field(default_factory=dict)
    refusals: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    sounding: list[str] = field(default_factory=list)
    consumers: set[tuple[str, ...]] = field(default_factory=set)

    @classmethod
    def load(cls, path: Path) -> State:
        """The state of the last look; a fresh one where there was none.

        :raises CommandError: the file cannot be read.
        """
        try:
            record = json.loads(path.read_bytes())
            return cls(
                record["since"],
                {chain: (int(at), str(time)) for chain, (at, time) in record["chains"].items()},
                {name: [(a, b) for a, b in found] for name, found in record["refusals"].items()},
                list(record["sounding"]),
                {tuple(one) for one in record["consumers"]},
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CommandError(
                f"the state of the last look cannot be read ({type(error).__name__})",
                where=str(path),
                remedy="restore or remove it; without it first consumers are learned anew",
            ) from None

    def save(self, path: Path) -> None:
        """Keep it for the next look.

        :raises CommandError: the file cannot be written.
        """
        # What is too old to come up again is forgotten.
        oldest = text_of(time_of(self.since) - KEPT)
        kept = {chain: found for chain, found in self.chains.items() if found[1] >= oldest}
        record = {
            "since": self.since,
            "chains": kept,
            "refusals": self.refusals,
            "sounding": self.sounding,
            "consumers": sorted(self.consumers),
        }
        temporary = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(record))
            temporary.replace(path)
        except OSError as error:
            raise CommandError(
                f"the state cannot be kept ({type(error).__name__})",
                where=str(path),
                remedy="name another --state",
            ) from None


class Evaluator:
    """Holds events, in the order of the log, against rules: `take` each, then `bursts` once."""

    def __init__(self, alarms: Sequence[Alarm], state: State) -> None:
        self._alarms = [one for one in alarms if not (one.at_once and one.when in AT_ONCE)]
        self._state = state
        # At the first look every consumer is a new one, so they are learned and nobody is told.
        self._learning = not state.since
        self._opening_chains: set[tuple[str, str]] = set()
        self._refused: dict[str, list[tuple[str, str, str, str]]] = {}

    def take(self, record: Mapping[str, Any]) -> Iterator[Raised]:
        """The alarms that an event raises; one that was taken before raises none."""
        chain, sequence, time = record.get("chain"), record.get("sequence"), record.get("time")
        if not isinstance(chain, str) or type(sequence) is not int or not isinstance(time, str):
            return
        following, _ = self._state.chains.get(chain, (0, ""))
        if sequence < following:
            return
        self._state.chains[chain] = (sequence + 1, time)
        for alarm in self._alarms:
            if alarm.compartments is None or record.get("compartment") in alarm.compartments:
                yield from self._hold(alarm, record, time)
        self._learn(record)

    def _hold(self, alarm: Alarm, record: Mapping[str, Any], time: str) -> Iterator[Raised]:
        if alarm.when == "refusals":
            if record.get("outcome") == "refused":
                found = (time, str(record.get("id")), by(record), str(record.get("compartment")))
                self._refused.setdefault(alarm.name, []).append(found)
        elif alarm.when == "first_consumer":
            if (pair := _reader(record)) and pair not in self._state.consumers and not self._learning:
                yield raised(alarm, record, f"{pair[2]}/{pair[3]} read from {pair[1]} for the first time")
        elif alarm.when == "opened":
            yield from self._opening(alarm, record)
        else:
            yield from single(alarm, record)

    def _opening(self, alarm: Alarm, record: Mapping[str, Any]) -> Iterator[Raised]:
        # One command may open thousands (unseal-all), and its events are of one chain.
        command = (alarm.name, str(record.get("chain")))
        if record.get("action") == "open" and command not in self._opening_chains:
            self._opening_chains.add(command)
            did = "opened" if record.get("outcome") == "ok" else "tried to open"
            yield raised(alarm, record, f"{by(record) or 'somebody'} {did} {xcom(record)} by hand")

    def bursts(self) -> Iterator[Raised]:
        """The alarms of all refusals that were taken, in the order of time: the hosts' files come one by one."""
        for alarm in self._alarms:
            for time, number, who, compartment in sorted(self._refused.pop(alarm.name, ())):
                yield from self._refusal(alarm, time, number, who, compartment)

    def _refusal(self, alarm: Alarm, time: str, number: str, who: str, compartment: str) -> Iterator[Raised]:
        oldest = text_of(time_of(time) - timedelta(seconds=alarm.within_seconds))
        kept = [one for one in self._state.refusals.get(alarm.name, []) if one[0] > oldest]
        # It may sound again once it was quiet, which with `over: 0` is a time without any.
        if len(kept) <= alarm.over and alarm.name in self._state.sounding:
            self._state.sounding.remove(alarm.name)
        kept.append((time, number))
        self._state.refusals[alarm.name] = kept[-(alarm.over + 10) :]
        if len(kept) > alarm.over and alarm.name not in self._state.sounding:
            self._state.sounding.append(alarm.name)
            events = tuple(number for _, number in kept[-10:])
            text = f"{len(kept)} refusals within {alarm.within}, the last of {who or 'nobody known'}"
            yield Raised(alarm.name, alarm.when, time, text, events, compartment if alarm.compartments else None)

    def _learn(self, record: Mapping[str, Any]) -> None:
        found = _reader(record)
        if found and len(self._state.consumers) < _CONSUMERS_MAX:
            self._state.consumers.add(found)


def single(alarm: Alarm, record: Mapping[str, Any]) -> Iterator[Raised]:
    """The alarm of a rule that one event decides."""
    if alarm.when == "second_claim" and record.get("action") == "claim" and record.get("outcome") == "refused":
        yield raised(
            alarm, record, f"{xcom(record)} was claimed already, and {by(record) or 'somebody'} tried again"
        )
    if alarm.when == "plaintext_seen" and record.get("action") == "plaintext_seen":
        yield raised(alarm, record, f"{xcom(record)} has no reference, seen by {by(record) or 'somebody'}")


def raised(alarm: Alarm, record: Mapping[str, Any], text: str) -> Raised:
    """The alarm of one event."""
    compartment = record.get("compartment")
    return Raised(alarm.name, alarm.when, str(record.get("time")), text, (str(record.get("id")),), compartment)


def _reader(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    producer, consumer = record.get("producer"), record.get("consumer")
    if record.get("action") != "pull" or record.get("outcome") != "ok":
        return None
    if not isinstance(producer, dict) or not isinstance(consumer, dict):
        return None
    found = (record.get("compartment"), producer.get("dag_id"), consumer.get("dag_id"), consumer.get("task_id"))
    return tuple(map(str, found))
