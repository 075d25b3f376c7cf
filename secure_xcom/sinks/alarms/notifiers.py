"""Telling an alarm: a log line, a webhook, a function. What fails is said and stops nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from secure_xcom.connections import airflow_connection
from secure_xcom.core.access_policy.alarms import AT_ONCE, Alarm, Notify
from secure_xcom.core.errors import AlarmNotTold, SecureXComError
from secure_xcom.core.event import Line
from secure_xcom.sinks.alarms.rules import Raised, single

log = logging.getLogger("secure_xcom.alarms")

WEBHOOK_SECONDS = 5.0
"""How long a webhook may take; a worker that tells at once waits for it."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def notify(alarm: Alarm, found: Raised) -> list[AlarmNotTold]:
    """Tell all that the rule names; what did not work, one error each."""
    failed = []
    for number, way in enumerate(alarm.notify):
        try:
            _tell_one(way, found)
        except AlarmNotTold as error:
            failed.append(error)
        except SecureXComError as error:
            failed.append(
                AlarmNotTold(error.what, where=f"alarm {alarm.name}, notify[{number}]", remedy=error.remedy)
            )
    return failed


class AlarmSink:
    """A sink that writes nothing: it tells the alarms of the rules that are to be told at once.

    :param alarms: all rules; those that are not at once are left to `secure-xcom audit alarms`.
    """

    uri = "alarms:"
    dear = False

    def __init__(self, alarms: Iterable[Alarm]) -> None:
        self._alarms = [one for one in alarms if one.at_once and one.when in AT_ONCE]

    def write(self, lines: Sequence[Line]) -> None:
        """Tell what these events raise. Raises nothing: an alarm that cannot be told stops no task."""
        for line in lines:
            for alarm in self._alarms:
                if alarm.compartments is not None and line.record.get("compartment") not in alarm.compartments:
                    continue
                for found in single(alarm, line.record):
                    for error in notify(alarm, found):
                        log.error("An alarm was not told: %s", error)


def _tell_one(way: Notify, found: Raised) -> None:
    if way.log is not None:
        log.log(_LEVELS[way.log], "Alarm %s (%s) at %s: %s", found.alarm, found.when, found.time, found.text)
    elif way.callback is not None:
        _call(way.callback, found)
    else:
        _post(way, found)


def _call(name: str, found: Raised) -> None:
    # The function is named by the access policy's owner, who decides over what runs here anyway.
    from pkgutil import resolve_name

    try:
        resolve_name(name)(found.as_json())
    except Exception as error:  # noqa: BLE001  # a function of others may raise anything
        raise AlarmNotTold(f"the callback failed ({type(error).__name__})", where=f"callback {name}") from None


def _post(way: Notify, found: Raised) -> None:
    url, token = way.webhook or "", ""
    if way.connection is not None:
        known = airflow_connection(way.connection, where=f"alarm {found.alarm}", named="the rule's connection")
        token = str(known.password or "")
        url = url or str(known.host or "")
    parts = urlsplit(url)
    # The path of a webhook may be its secret, so only its host is shown.
    where = f"webhook {parts.scheme}://{parts.hostname}" if way.webhook else f"connection {way.connection}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AlarmNotTold("the webhook is no http or https URL", where=where)
    headers = {"Content-Type": "application/json", "User-Agent": "secure_xcom"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps(found.as_json()).encode()
    request = Request(url, body, headers, method="POST")  # noqa: S310  # http and https only, above
    try:
        with build_opener(_NoRedirect).open(request, timeout=WEBHOOK_SECONDS):
            return
    except HTTPError as error:
        raise AlarmNotTold(f"the webhook answered {error.code}", where=where) from None
    except (URLError, OSError, ValueError) as error:
        raise AlarmNotTold(f"the webhook did not take it ({type(error).__name__})", where=where) from None


class _NoRedirect(HTTPRedirectHandler):
    """A token is for the host that was named and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None
