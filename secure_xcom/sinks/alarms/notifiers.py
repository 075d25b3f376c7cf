"""Notify of an alarm with a log line, a webhook or a function. A failure is reported and stops nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.core.access_policy.alarms import AT_ONCE, Alarm, Notify
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.event import Line
from secure_xcom.core.service_errors import AlarmNotTold
from secure_xcom.sinks.alarms.rules import Raised, single

log = logging.getLogger("secure_xcom.alarms")

WEBHOOK_SECONDS = 5.0
"""How long a webhook may take; for an alarm with `at_once` the task waits for it."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def notify(alarm: Alarm, raised: Raised) -> list[AlarmNotTold]:
    """Notify every target of the rule. Return an error for each one that failed."""
    errors = []
    for number, target in enumerate(alarm.notify):
        try:
            _notify_one(target, raised)
        except AlarmNotTold as error:
            errors.append(error)
        except SecureXComError as error:
            errors.append(
                AlarmNotTold(error.what, where=f"alarm {alarm.name}, notify[{number}]", remedy=error.remedy)
            )
    return errors


class AlarmSink:
    """A sink that writes nothing: it raises the alarms of rules with `at_once`.

    :param alarms: all rules; `secure-xcom audit alarms` evaluates those without `at_once`.
    """

    uri = "alarms:"
    costly = False

    def __init__(self, alarms: Iterable[Alarm]) -> None:
        self._alarms = [alarm for alarm in alarms if alarm.at_once and alarm.when in AT_ONCE]

    def write(self, lines: Sequence[Line]) -> None:
        """Notify of the alarms that these events raise. Raise nothing: a failed notification stops no task."""
        for line in lines:
            for alarm in self._alarms:
                if alarm.compartments is not None and line.record.get("compartment") not in alarm.compartments:
                    continue
                for raised in single(alarm, line.record):
                    for error in notify(alarm, raised):
                        log.error("An alarm could not be sent: %s", error)


def _notify_one(target: Notify, raised: Raised) -> None:
    if target.log is not None:
        level = _LEVELS[target.log]
        log.log(level, "Alarm %s (%s) at %s: %s", raised.alarm, raised.when, raised.time, raised.text)
    elif target.callback is not None:
        _call(target.callback, raised)
    else:
        _post(target, raised)


def _call(name: str, raised: Raised) -> None:
    # The access policy's owner names the function, and decides what runs here in any case.
    from pkgutil import resolve_name

    try:
        resolve_name(name)(raised.as_json())
    except Exception as error:  # noqa: BLE001  # a user's function may raise anything
        raise AlarmNotTold(f"the callback failed ({type(error).__name__})", where=f"callback {name}") from None


def _post(target: Notify, raised: Raised) -> None:
    url, token = target.webhook or "", ""
    if target.connection is not None:
        connection = airflow_connection(
            target.connection, where=f"alarm {raised.alarm}", named="the rule's connection"
        )
        token = str(connection.password or "")
        url = url or str(connection.host or "")
    try:
        parts = urlsplit(url)
    except ValueError:
        # What stands in brackets is no IPv6 address.
        parts = urlsplit("")
    # The path of a webhook may be its secret, so only its host is shown.
    where = f"webhook {parts.scheme}://{parts.hostname}" if target.webhook else f"connection {target.connection}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AlarmNotTold("the webhook is not an http or https URL", where=where)
    headers = {"Content-Type": "application/json", "User-Agent": "secure_xcom"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps(raised.as_json()).encode()
    request = Request(url, body, headers, method="POST")  # noqa: S310  # http and https only, above
    try:
        with build_opener(_NoRedirect).open(request, timeout=WEBHOOK_SECONDS):
            return
    except HTTPError as error:
        raise AlarmNotTold(f"the webhook answered {error.code}", where=where) from None
    except (URLError, OSError, ValueError) as error:
        raise AlarmNotTold(f"the webhook could not be reached ({type(error).__name__})", where=where) from None


class _NoRedirect(HTTPRedirectHandler):
    """Refuse redirects: a token is for the named host only."""

    def redirect_request(self, *_: Any) -> None:
        return None
