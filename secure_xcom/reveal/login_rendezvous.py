"""The rendezvous of logins: the login window leaves the provider's code here, and the page takes it.

A window cannot send it to the page itself where the provider cuts the two apart (Cross-Origin-Opener-Policy). The
code is of no use by itself: Vault wants the ``client_nonce`` with it, which only the page has.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from secure_xcom.core.operator_errors import RevealBusy, RevealRequestInvalid

KEEP_SECONDS = 120.0
WAIT_SECONDS = 25.0
"""The time that a page waits in one request: less than proxies usually let a request take."""
LOGINS_MAX = 500
_STATE = re.compile(r"[A-Za-z0-9_.~-]{16,256}")
_CODE_MAX_CHARACTERS = 4096


@dataclass(slots=True)
class _Login:
    until: float
    code: str | None = field(default=None, repr=False)
    waiting: bool = False
    arrived: anyio.Event = field(default_factory=anyio.Event)


class Logins:
    """Codes of logins that are under way, each given out once. For one event loop.

    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logins: OrderedDict[str, _Login] = OrderedDict()
        self._stopping = False

    def leave(self, state: str, code: object) -> None:
        """Leave the code of a login, the first time only.

        :raises RevealRequestInvalid: it is no code, or there is one already; :raises RevealBusy: too many logins.
        """
        if not isinstance(code, str) or not code or len(code) > _CODE_MAX_CHARACTERS or not code.isprintable():
            raise RevealRequestInvalid("the code is not a text of at most 4,096 characters", where="code")
        login = self._login(state)
        if login.code is not None:
            raise RevealRequestInvalid("this login has a code already", where="state", remedy="log in again")
        login.code = code
        login.arrived.set()

    async def take(self, state: str, *, wait: float = WAIT_SECONDS) -> str | None:
        """Return the code of a login as soon as it is there, and forget it; None if it does not come in time.

        :raises RevealRequestInvalid: another request waits for it; :raises RevealBusy: too many logins.
        """
        login = self._login(state)
        if login.waiting:
            raise RevealRequestInvalid(
                "another request waits for this login", where="state", remedy="log in again"
            )
        login.waiting = True
        try:
            with anyio.move_on_after(0 if self._stopping else wait):
                await login.arrived.wait()
        finally:
            login.waiting = False
        if login.code is not None:
            self._logins.pop(state, None)
        return login.code

    def stop(self) -> None:
        """Let nobody wait any more: the service ends, and pages ask again."""
        self._stopping = True
        for login in self._logins.values():
            login.arrived.set()

    def _login(self, state: str) -> _Login:
        if not _STATE.fullmatch(state):
            raise RevealRequestInvalid("the state of a login has 16 to 256 letters and digits", where="state")
        now = self._now()
        # The oldest come first.
        while self._logins and next(iter(self._logins.values())).until <= now:
            self._logins.popitem(last=False)
        if state not in self._logins:
            if len(self._logins) >= LOGINS_MAX:
                self._drop_one()
            self._logins[state] = _Login(now + KEEP_SECONDS)
        return self._logins[state]

    def _drop_one(self) -> None:
        """Forget the oldest login that no page waits for.

        Anybody may name a state, so the logins of people must outlast those that somebody makes up: a page waits
        from the beginning of its login, and a request that waits takes one of the server's connections.

        :raises RevealBusy: pages wait for all of them.
        """
        state = next((state for state, login in self._logins.items() if not login.waiting), None)
        if state is None:
            raise RevealBusy("too many logins are under way", where="logins")
        del self._logins[state]
