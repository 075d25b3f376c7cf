"""``secure-xcom reveal --here``: one person looks at values on their own machine, with credentials of their own.

The page and the protocol are those of the service. What differs:

- It listens on loopback, on a random port, and takes requests that name this address as ``Host`` and ``Origin``.
- Who knows the printed address is the person: its fragment has a code that is exchanged once for a bearer token.
  A fragment is not sent to servers, and the page removes it from the browser's address bar.
- The policies of the key service and the store decide, as for `secure-xcom open`. Viewers are not asked.
- It ends when nothing was asked for a while.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.operator_errors import IdentityRefused, RevealRequestInvalid
from secure_xcom.ops.audit_trail.alarm_windows import REVEAL_HERE
from secure_xcom.reveal.identity_tokens import Person
from secure_xcom.reveal.sessions import Sessions
from secure_xcom.reveal.site import Mode, Session, Site

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.coordinate import Coordinate

HOST = "127.0.0.1"
_CODE_BYTES = 32


class OnePerson:
    """The person who started the command.

    :param name: for the access log.
    :param port: where the page is, on loopback.
    """

    mode: Mode = "here"

    def __init__(self, name: str, port: int) -> None:
        self._person = Person(name, frozenset())
        self._site = Site(f"http://{HOST}:{port}", hosts=(f"{HOST}:{port}",))
        self._sessions = Sessions(None)
        self._lock = threading.Lock()
        self._code: str | None = secrets.token_urlsafe(_CODE_BYTES)

    def address(self, coordinate: Coordinate | None) -> str:
        """Return the address for the person's browser. It works once.

        :param coordinate: the XCom that the page is about; None to let the page ask.
        """
        fields: dict[str, Any] = {"code": self._code}
        if coordinate is not None:
            names = ("dag_id", "run_id", "task_id", "map_index", "key")
            fields |= {name: getattr(coordinate, name) for name in names}
        return f"{self._site.origin}/#{urlencode(fields)}"

    def site(self, policy: AccessPolicy) -> Site:  # noqa: ARG002  # the interface's
        """See `People.site`."""
        return self._site

    def configuration(self, policy: AccessPolicy) -> dict[str, Any]:  # noqa: ARG002  # the interface's
        """See `People.configuration`."""
        return {"vault": None, "oidc": None}

    def session(self, policy: AccessPolicy, record: Mapping[str, Any]) -> Session:  # noqa: ARG002  # the interface's
        """Exchange the code of the address for a session, once.

        :raises RevealRequestInvalid: the body has no code; :raises IdentityRefused: it is another, or was used.
        """
        code = record.get("code")
        if set(record) != {"code"} or not isinstance(code, str):
            raise RevealRequestInvalid("the body is not an object with the field 'code' alone", where="the body")
        with self._lock:
            if self._code is None or not secrets.compare_digest(
                self._code.encode(), code.encode("utf-8", "replace")
            ):
                raise IdentityRefused(
                    "the address was already used, or is not the one that was printed",
                    where="code",
                    remedy="start `secure-xcom reveal --here` again: each address works once",
                )
            self._code = None
        return self._sessions.begin(self._person)

    def person(self, policy: AccessPolicy, authorization: str) -> Person:  # noqa: ARG002  # the interface's
        """See `People.person`."""
        return self._sessions.person(authorization)


def own_rights(policy: AccessPolicy, coordinate: Coordinate, person: Person) -> Verdict:  # noqa: ARG001  # Decide's
    """Leave the decision to the key service and the store, as `secure-xcom open` does.

    :raises CompartmentUnknown: the XCom's DAG belongs to no compartment.
    """
    return Verdict(policy.resolve(coordinate), REVEAL_HERE)
