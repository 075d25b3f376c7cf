"""The alarms of an access policy file: what is watched for in the access log, and who is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secure_xcom.core.access_policy.field_types import Duration, Name, Strict, a_list, seconds

When = Literal[
    "refusals", "second_claim", "first_consumer", "plaintext_seen", "opened", "reconcile_gap", "tampering"
]

AT_ONCE: tuple[When, ...] = ("second_claim", "plaintext_seen")
"""What a worker can tell by itself, from one event."""

_WebUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://[\w.:-]+(/[\w.,:;/@+=~%&?-]*)?$")]
_ConnectionId = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.-]+$")]
_Callback = Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]


class Notify(Strict):
    """One way to tell somebody: a log line, a webhook, or a function of yours."""

    log: Literal["info", "warning", "error"] | None = None
    """A line of Python's logger ``secure_xcom.alarms``, at this level."""
    webhook: _WebUrl | None = None
    """A URL that the alarm is posted to as JSON."""
    connection: _ConnectionId | None = None
    """The Airflow connection whose password is the bearer token; without ``webhook`` its host is the URL."""
    callback: _Callback | None = None
    """``package.module:function``, called with the alarm as a dict."""

    @property
    def ways(self) -> int:
        """How many ways this names; it must be one."""
        web = self.webhook is not None or self.connection is not None
        return sum((self.log is not None, web, self.callback is not None))


class Alarm(Strict):
    """One rule: what it watches for, where, and who is told."""

    name: Name
    """Of the rule, for who is told."""
    when: When
    """refusals: more than ``over`` of them ``within`` a time. second_claim: an exclusive XCom was claimed already.
    first_consumer: a task reads from a DAG for the first time. plaintext_seen: a row without a reference.
    opened: an operator opened XComs by hand, or tried to; those of one command are told once.
    reconcile_gap, tampering: ``audit reconcile`` or ``audit verify`` found something."""
    over: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """With refusals: how many are still no alarm."""
    within: Duration = "1m"
    """With refusals: the time that they are counted in."""
    compartments: Annotated[tuple[Name, ...], a_list(min_length=1)] | None = None
    """Only events of these compartments."""
    at_once: bool = False
    """Told by the worker itself when it happens (second_claim, plaintext_seen), instead of by `audit alarms`."""
    notify: Annotated[tuple[Notify, ...], a_list(min_length=1, max_length=8)]
    """Who is told."""

    @property
    def within_seconds(self) -> int:
        """``within`` in seconds."""
        return seconds(self.within)
