"""The rendezvous of logins: a code is given out once, to the one who waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from secure_xcom.core.operator_errors import RevealBusy, RevealRequestInvalid
from secure_xcom.reveal.login_rendezvous import KEEP_SECONDS, LOGINS_MAX, Logins
from tests.support.reveal_service import AIRFLOW, ORIGIN, RevealWorld

STATE = "st_" + "a" * 20


def test_a_code_is_given_out_once() -> None:
    """Who asks first gets it, whether it is there already or comes later; who asks again gets nothing."""

    async def run() -> list[str | None]:
        logins = Logins()
        logins.leave(STATE, "code-1")
        taken = [await logins.take(STATE, wait=0.01), await logins.take(STATE, wait=0.01)]
        async with anyio.create_task_group() as tasks:

            async def waiting() -> None:
                taken.append(await logins.take(STATE + "b", wait=5))

            tasks.start_soon(waiting)
            await anyio.sleep(0.01)
            logins.leave(STATE + "b", "code-2")
        return taken

    assert anyio.run(run) == ["code-1", None, "code-2"]


def test_a_second_code_and_a_second_reader_are_refused() -> None:
    """Nobody replaces the code of a login, and nobody waits beside its page."""

    async def run() -> None:
        logins = Logins()
        logins.leave(STATE, "code-1")
        with pytest.raises(RevealRequestInvalid):
            logins.leave(STATE, "code-2")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(logins.take, STATE + "b")
            await anyio.sleep(0.01)
            with pytest.raises(RevealRequestInvalid):
                await logins.take(STATE + "b")
            tasks.cancel_scope.cancel()
        # The first one has gone, so its place is free.
        assert await logins.take(STATE + "b", wait=0.01) is None

    anyio.run(run)


def test_a_login_is_forgotten() -> None:
    """A code is kept for two minutes."""
    now = 0.0

    async def run() -> None:
        nonlocal now
        logins = Logins(now=lambda: now)
        logins.leave(STATE, "code")
        now = KEEP_SECONDS
        assert await logins.take(STATE, wait=0.01) is None

    anyio.run(run)


def test_made_up_logins_keep_nobody_out() -> None:
    """The number of logins is bounded, and one that a page waits for outlasts any number of others."""

    async def run() -> list[str | None]:
        logins = Logins()
        taken: list[str | None] = []
        async with anyio.create_task_group() as tasks:

            async def waiting() -> None:
                taken.append(await logins.take(STATE, wait=5))

            tasks.start_soon(waiting)
            await anyio.sleep(0.01)
            for number in range(2 * LOGINS_MAX):
                logins.leave(f"{STATE}{number}", "code")
            logins.leave(STATE, "code-of-a-person")
        assert await logins.take(f"{STATE}0", wait=0.01) is None
        assert await logins.take(f"{STATE}{2 * LOGINS_MAX - 1}", wait=0.01) == "code"
        return taken

    assert anyio.run(run) == ["code-of-a-person"]


def test_only_pages_that_wait_fill_the_rendezvous() -> None:
    """Where pages wait for all of the logins, a further one is refused."""

    async def run() -> None:
        logins = Logins()
        async with anyio.create_task_group() as tasks:
            for number in range(LOGINS_MAX):
                tasks.start_soon(logins.take, f"{STATE}{number}")
            await anyio.sleep(0.05)
            with pytest.raises(RevealBusy):
                logins.leave(STATE, "code")
            tasks.cancel_scope.cancel()

    anyio.run(run)


@pytest.mark.parametrize("state", ["short", "x" * 300, "a b" * 10, "a/b" * 10, ""])
def test_a_state_has_one_form(state: str) -> None:
    """Nothing else is kept."""
    with pytest.raises(RevealRequestInvalid):
        Logins().leave(state, "code")


@pytest.mark.parametrize("code", ["", None, 7, "x" * 5000, "a\nb"])
def test_a_code_has_one_form(code: object) -> None:
    """Nothing else is kept."""
    with pytest.raises(RevealRequestInvalid):
        Logins().leave(STATE, code)


def test_the_routes(tmp_path: Path) -> None:
    """The window leaves a code from our own origin alone, and the page takes it once."""
    world = RevealWorld(tmp_path)
    with world.client() as client:
        place = f"/v1/logins/{STATE}"
        assert client.put(place, json={"code": "c"}, headers={"Origin": AIRFLOW}).status_code == 403
        form = {"Origin": ORIGIN, "Content-Type": "text/plain"}
        assert client.put(place, content='{"code": "c"}', headers=form).status_code == 400
        others: list[Any] = [{}, {"code": "c", "more": 1}, [], "c"]
        for record in others:
            assert client.put(place, json=record, headers={"Origin": ORIGIN}).status_code == 400
        assert client.put(place, json={"code": "c"}, headers={"Origin": ORIGIN}).status_code == 204
        assert client.head(place).status_code == 405
        assert client.get(place).json() == {"code": "c"}
        assert client.get("/v1/logins/short").json()["error"] == "RevealRequestInvalid"
    world.close()
