"""The alarms of an access policy file: events of the access log that somebody is notified of."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from secure_xcom.core.access_policy.field_types import Duration, Name, Strict, a_list
from secure_xcom.core.access_policy.loading import fault, unknown_compartment
from secure_xcom.core.findings import Finding

When = Literal[
    "refusals", "second_claim", "first_consumer", "plaintext_seen", "opened", "first_reveal", "reveals",
    "sensitive_reveal", "reconcile_gap", "tampering",
]  # fmt: skip

AT_ONCE: tuple[When, ...] = ("second_claim", "plaintext_seen", "sensitive_reveal")
"""The conditions that a worker or the reveal service detects by itself, from one event."""

_WebUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://[\w.:-]+(/[\w.,:;/@+=~%&?-]*)?$")]
_ConnectionId = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.-]+$")]
_Callback = Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]


class Notify(Strict):
    """One way to notify somebody: a log line, a webhook, or a function of yours."""

    log: Literal["info", "warning", "error"] | None = None
    """Log a line to Python's logger ``secure_xcom.alarms``, at this level."""
    webhook: _WebUrl | None = None
    """The URL that the alarm is posted to as JSON."""
    connection: _ConnectionId | None = None
    """The Airflow connection whose password is the bearer token. Without ``webhook``, its host is the URL."""
    callback: _Callback | None = None
    """``package.module:function``, called with the alarm as a dict."""

    @property
    def ways(self) -> int:
        """The number of ways that this names. It must be one."""
        web = self.webhook is not None or self.connection is not None
        return sum((self.log is not None, web, self.callback is not None))


class Alarm(Strict):
    """One rule: the event, its compartments, and who is notified."""

    name: Name
    """The name of the rule, shown in notifications."""
    when: When
    """refusals: more than ``over`` refusals ``within`` a time. second_claim: an exclusive XCom was already
    claimed. first_consumer: a task reads from a DAG for the first time. plaintext_seen: a row without a reference.
    opened: an operator opened XComs by hand, or tried to; one command raises one alarm.
    first_reveal: a person revealed a value of a compartment for the first time. reveals: one person made more
    than ``over`` reveals ``within`` a time. sensitive_reveal: the key or a field of what was revealed has a
    sensitive name.
    reconcile_gap, tampering: ``audit reconcile`` or ``audit verify`` found something."""
    over: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """With refusals and reveals: how many are tolerated before an alarm is raised."""
    within: Duration = "1m"
    """With refusals and reveals: the time in which they are counted."""
    compartments: Annotated[tuple[Name, ...], a_list(min_length=1)] | None = None
    """Only events of these compartments."""
    at_once: bool = False
    """The worker or the reveal service itself notifies when it happens (second_claim, plaintext_seen,
    sensitive_reveal), instead of `audit alarms`."""
    notify: Annotated[tuple[Notify, ...], a_list(min_length=1, max_length=8)]
    """Who is notified, and how."""


class Alarms(Strict):
    """The section ``alarms`` of an access policy file."""

    model_config = ConfigDict(defer_build=True)

    alarms: Annotated[tuple[Alarm, ...], a_list(max_length=1000)] = ()
    """Events of the access log that trigger a notification."""

    def faults(self, names: AbstractSet[str]) -> Iterator[Finding]:
        """Yield names of no compartment, and rules that cannot be followed.

        :param names: the compartments.
        """
        for index, alarm in enumerate(self.alarms):
            here = ("alarms", index)
            for number, name in enumerate(alarm.compartments or ()):
                if name not in names:
                    yield unknown_compartment((*here, "compartments", number), name, names)
            if alarm.at_once and alarm.when not in AT_ONCE:
                text = f"only {' and '.join(AT_ONCE)} can be at_once: a single event does not decide {alarm.when}"
                yield fault((*here, "at_once"), text)
            for number, way in enumerate(alarm.notify):
                if way.ways != 1:
                    text = "each notify entry must be one of log, webhook (or connection) and callback"
                    yield fault((*here, "notify", number), text)
