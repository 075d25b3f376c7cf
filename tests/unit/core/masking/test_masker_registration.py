"""Against the installed Airflow: its sensitive names, its secrets masker, its line to the supervisor."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.masking.masker_registration import compile_once, register
from secure_xcom.core.masking.secrets_of_value import Secrets
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.uninformative import is_uninformative
from secure_xcom.deployment import airflow_config
from tests.support.airflow_here import airflow_here
from tests.support.secrets_of import secrets_of

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


class Supervisor:
    """A double of Airflow's line to the supervisor: it keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def send(self, message: Any) -> None:
        self.messages.append(message)


@pytest.fixture
def masker() -> Iterator[Any]:
    """The SDK's masker, empty, as it is when a task starts."""
    from airflow.sdk._shared.secrets_masker import _secrets_masker, reset_secrets_masker

    reset_secrets_masker()
    yield _secrets_masker()
    reset_secrets_masker()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """This process is a task's, and its supervisor a double."""
    from airflow.sdk.execution_time import task_runner

    double = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", double, raising=False)
    return double


def redact(text: str) -> str:
    """A text as Airflow's masker leaves it."""
    from airflow.sdk._shared.secrets_masker import redact as mask

    return str(mask(text))


# --- names --------------------------------------------------------------------------------------------------


def test_the_built_in_names_hold_all_of_airflows() -> None:
    """Without Airflow nothing is shown that the installed Airflow would hide."""
    from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS

    assert DEFAULT_NAMES >= DEFAULT_SENSITIVE_FIELDS


@given(
    st.text(max_size=30)
    | st.builds("{}{}{}".format, st.text(max_size=5), st.sampled_from(sorted(DEFAULT_NAMES)), st.text(max_size=5))
)
def test_what_airflow_hides_is_hidden(name: str) -> None:
    """Every name that Airflow's own rule takes for sensitive is sensitive here."""
    from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS, SecretsMasker

    masker = SecretsMasker()
    masker.sensitive_variables_fields = list(DEFAULT_SENSITIVE_FIELDS)
    if masker.should_hide_value_for_key(name):
        assert SensitiveNames(DEFAULT_NAMES).matches(name)


def test_names_come_from_airflows_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sensitive_var_conn_names`, names of our own and the length that Airflow masks from are taken over."""
    monkeypatch.setenv("AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES", "iban, patientId,")
    monkeypatch.setenv("AIRFLOW__LOGGING__MIN_LENGTH_MASKED_SECRET", "3")
    names = airflow_config.sensitive_names(["badge"])
    assert all(names.matches(name) for name in ("IBAN", "patient_id", "badgeNumber", "password", "access_key"))
    assert not names.matches("user")
    assert names.min_length == 3


# --- registration -------------------------------------------------------------------------------------------


def test_strings_are_hidden_and_sent_in_one_message(masker: Any, supervisor: Supervisor) -> None:
    """After one call the process's own masker knows the strings, and the supervisor was told of them once."""
    register(Secrets(("hunter22", "hunter33"), 0))
    assert redact("a hunter22 b hunter33") == "a *** b ***"
    assert [(message.type, message.value) for message in supervisor.messages] == [
        ("MaskSecret", ["hunter22", "hunter33"])
    ]


def test_nothing_to_register_sends_nothing(masker: Any, supervisor: Supervisor) -> None:
    """A value without secrets costs no message."""
    register(Secrets((), 0))
    assert supervisor.messages == []


@given(st.text(min_size=5, max_size=60))
def test_a_named_secret_is_hidden_however_it_is_printed(secret: str) -> None:
    """After registration no print of the value shows the secret: plain, inside a repr, as JSON, line by line."""
    from airflow.sdk._shared.secrets_masker import reset_secrets_masker

    found = secrets_of({"password": secret}, names=SensitiveNames(DEFAULT_NAMES), key="k", mode="named", cap=1000)
    reset_secrets_masker()
    register(found)
    if len(secret.strip()) < 5 or is_uninformative(secret):
        return
    lines = [line for line in secret.splitlines() if len(line.strip()) >= 5 and not line.startswith("-----")]
    lines = [line for line in lines if not is_uninformative(line)]
    printed = [secret, repr({"k": secret}), json.dumps([secret]), json.dumps([secret], ensure_ascii=False), *lines]
    for text in printed:
        shown = redact(text.encode("utf-8", "replace").decode())
        assert "***" in shown
        assert secret.strip() not in shown


def test_what_was_left_out_is_said_by_number(masker: Any) -> None:
    """The task's log says how many strings are not masked, and which option to raise, and no string."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("secure_xcom.core.masking.masker_registration"), Keep()
    logger.addHandler(handler)
    try:
        register(Secrets(("hunter22",), 0))
        assert lines == []
        register(Secrets(("hunter22",), 7))
    finally:
        logger.removeHandler(handler)
    assert len(lines) == 1
    assert lines[0].startswith("7 strings were not registered")
    assert "mask_max_values" in lines[0]
    assert "hunter22" not in lines[0]


def test_the_longer_of_two_secrets_is_hidden_whole(masker: Any) -> None:
    """Where one secret begins with another, its end does not show, also after Airflow added more by itself."""
    pairs = [(f"hunter{number:03d}", f"hunter{number:03d}-and-more") for number in range(40)]
    register(Secrets(tuple(text for pair in pairs for text in pair), 0))
    masker.add_mask("something else")
    assert [redact(longer) for _, longer in pairs] == ["***"] * 40
    assert [redact(shorter) for shorter, _ in pairs] == ["***"] * 40


def test_registering_does_not_compile_for_each_string(masker: Any) -> None:
    """400 strings cost a fraction of what Airflow's own call takes for them, which grows with their square."""
    strings = tuple(f"{number:024x}" for number in range(400))
    began = time.perf_counter()
    register(Secrets(strings, 0))
    ours = time.perf_counter() - began
    stock = type(masker)()
    began = time.perf_counter()
    stock.add_mask(list(strings))
    assert masker.patterns == stock.patterns
    assert ours * 3 < time.perf_counter() - began


def test_airflows_own_rules_decide_what_is_masked(masker: Any) -> None:
    """Short strings, common words and the deployment's own adapter count as they do in Airflow's own call."""
    strings = ["hunter22", "abc", "airflow", "AIRFLOW", ""]
    stock = type(masker)()
    for each in (masker, stock):
        each.secret_mask_adapter = lambda text: [text[::-1], text.upper()]
    try:
        compile_once(masker, strings)
    finally:
        masker.secret_mask_adapter = None
    stock.add_mask(strings)
    assert masker.patterns == stock.patterns == {"hunter22", "22retnuh", "HUNTER22"}


def test_known_patterns_are_kept(masker: Any) -> None:
    """What Airflow registered before stays hidden."""
    masker.add_mask("before hand")
    register(Secrets(("hunter22",), 0))
    register(Secrets(("hunter33",), 0))
    assert redact("before hand hunter22 hunter33") == "*** *** ***"


def test_a_masker_of_another_shape_is_left_alone() -> None:
    """Where Airflow's masker changes its inside, nothing is touched and Airflow's own call still does the work."""

    class Other:
        patterns = ("a", "b")

    other = Other()
    compile_once(other, ["hunter22"])
    assert vars(other) == {}


def test_threads_do_not_undo_each_other(masker: Any) -> None:
    """Pulls that register at the same time all stay hidden."""
    batches = [[f"{batch:03d}-{number:05d}" for number in range(20)] for batch in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda batch: compile_once(masker, batch), batches))
    assert all(redact(text) == "***" for batch in batches for text in batch)


# --- async --------------------------------------------------------------------------------------------------


def _answer_slowly(line: socket.socket, seen: list[dict[str, Any]]) -> None:
    """A supervisor at the other end of the socket: answers each request, in order, a little later."""
    import msgspec
    from airflow.sdk.execution_time.comms import _ResponseFrame

    while True:
        head = line.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            return
        body = line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        number, message, *_ = msgspec.msgpack.decode(body)
        seen.append(message)
        time.sleep(0.02)
        line.sendall(_ResponseFrame(id=number).as_bytes())


@pytest.mark.timeout(60)
def test_a_thread_beside_the_event_loop_registers_while_the_loop_asks(
    masker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's own line: a thread waits for its turn while the loop has a request under way, and none is lost."""
    from airflow.sdk import log as sdk_log
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    amask_secret = getattr(sdk_log, "amask_secret", None)
    if amask_secret is None:
        pytest.skip("this Airflow has no async line to the supervisor")
    here, there = socket.socketpair()
    seen: list[dict[str, Any]] = []
    answering = threading.Thread(target=_answer_slowly, args=(there, seen), daemon=True)
    answering.start()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", CommsDecoder(socket=here), raising=False)

    async def both() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as threads:
            asked = [amask_secret(f"asked-{number:03d}") for number in range(10)]
            pulled = [
                loop.run_in_executor(threads, register, Secrets((f"pulled-{number:03d}",), 0))
                for number in range(10)
            ]
            await asyncio.gather(*asked, *pulled)

    try:
        asyncio.run(both())
    finally:
        here.close()
        there.close()
        answering.join(5)
    values = [message["value"] for message in seen]
    assert sorted(value[0] for value in values if isinstance(value, list)) == [
        f"pulled-{number:03d}" for number in range(10)
    ]
    assert len(values) == 20
    assert redact("pulled-004 asked-007") == "*** ***"
