"""The demo's checks, each against the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.masking.preview_render import MASK
from secure_xcom.core.reference import TARGET_BYTES
from secure_xcom.demo.evidence import Evidence
from secure_xcom.demo.random_values import ACCOUNTS

# Of random bytes in the quantity at hand, far more than eight standard deviations below 8.
_RANDOM_BITS = 7.99
_PUSHED = {"get_login": 1, "list_accounts": 1, "read_balance": ACCOUNTS, "get_readings": 1}

_PULLED = {
    ("get_login", -1, "log_in"),
    ("list_accounts", -1, "read_balance"),
    *(("read_balance", index, "sum_balances") for index in range(ACCOUNTS)),
    ("get_readings", -1, "average_readings"),
    ("get_login", -1, "untouched"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check, whether it passed, and the detail that shows it."""

    name: str
    held: bool
    detail: str


def check(evidence: Evidence) -> list[Check]:
    """Return every check of the demo; a pipeline that failed has only one."""
    ran = Check("the pipeline ran, unchanged", evidence.run_state == "success", evidence.run_state)
    if not ran.held:
        return [Check(ran.name, False, f"{ran.detail}: {'; '.join(evidence.failures)}")]
    return [
        ran,
        *_at_rest(evidence),
        *_consumers(evidence),
        *_thieves(evidence),
        *_attacks(evidence),
        *_log(evidence),
    ]


def _at_rest(evidence: Evidence) -> Iterator[Check]:
    counted = {name: sum(xcom.task_id == name for xcom in evidence.xcoms) for name in _PUSHED}
    no_reference, sizes = [], []
    for xcom in evidence.xcoms:
        try:
            sizes.append((xcom.name, len(xcom.payload()), xcom.reference.size))
        except SecureXComError as error:
            no_reference.append(f"{xcom.name}: {error.what}")
    yield Check(
        "every row is a reference, and every value has one",
        counted == _PUSHED and not no_reference,
        ", ".join(no_reference) or f"{len(evidence.xcoms)} rows",
    )
    largest = max((len(xcom.row_text) for xcom in evidence.xcoms), default=0)
    yield Check(
        "every row is under 2 KiB, the large value's too", largest < TARGET_BYTES, f"the largest: {largest} bytes"
    )
    wrong = [name for name, stored, said in sizes if stored != said]
    yield Check(
        "every payload is in the store, one object each",
        bool(sizes) and not wrong,
        ", ".join(wrong) or f"{len(sizes)} objects",
    )


def _consumers(evidence: Evidence) -> Iterator[Check]:
    expected = evidence.source.expected()
    for name, what in (
        ("login", "the dict with the password"),
        ("balances", "the mapped tasks' values"),
        ("readings", "the large value"),
    ):
        got = evidence.received.get(name)
        # As JSON, because 1 and 1.0 are equal in Python.
        same = repr(got) == repr(expected[name])
        yield Check(f"the consumer got {what} as pushed", same, "equal" if same else "another value")
    # One line has a host, a password and a token.
    yield Check(
        "the consumer's output is masked in its log",
        evidence.printed.count(MASK) == 3,
        evidence.printed or "the line is missing",
    )


def _thieves(evidence: Evidence) -> Iterator[Check]:
    for searched in evidence.searched:
        yield Check(
            f"no value in any byte of {searched.name}",
            not searched.finds and searched.size > 0,
            "; ".join(searched.finds) or f"{searched.size:,} bytes searched",
        )
    yield Check(
        "the bucket's bytes look random and do not compress",
        evidence.entropy > _RANDOM_BITS and not evidence.compressible,
        f"{evidence.entropy:.4f} of 8 bits per byte",
    )
    for theft in evidence.thefts:
        stopped = theft.attempt.stopped_by
        if theft.expected:
            yield Check(f"a thief with {theft.has} gets nothing", stopped == theft.expected, stopped or "read it")
        else:
            opened = theft.attempt.value == evidence.source.login
            yield Check(f"with {theft.has}, the same code opens it", opened, stopped or "opened")


def _attacks(evidence: Evidence) -> Iterator[Check]:
    for attack in evidence.attacks:
        if attack.expected:
            yield Check(
                f"refused in a real task: {attack.what}",
                (attack.state, attack.error) == ("failed", attack.expected),
                f"{attack.state}, {attack.error or 'no error'}",
            )
        else:
            yield Check("an untouched XCom opens in the same run", attack.state == "success", attack.state)
    yield Check("all attacks were run", len(evidence.attacks) == 4, f"{len(evidence.attacks)} of 4")


def _log(evidence: Evidence) -> Iterator[Check]:
    log = evidence.access_log
    pushed = sum((event["action"], event["outcome"]) == ("push", "ok") for event in log)
    yield Check("the access log has every push", pushed == len(evidence.xcoms), f"{pushed} pushes")
    pulled = sum((event["action"], event["outcome"]) == ("pull", "ok") for event in log)
    missing = _PULLED - {
        (event["producer"]["task_id"], event["producer"]["map_index"], event["consumer"]["task_id"])
        for event in log
        if (event["action"], event["outcome"]) == ("pull", "ok")
    }
    yield Check(
        "the access log has every pull", not missing, str(sorted(missing)) if missing else f"{pulled} pulls"
    )
    refused = sorted(str(event.get("error")) for event in log if event["outcome"] == "refused")
    expected = sorted(attack.expected for attack in evidence.attacks if attack.expected)
    yield Check("the access log has every refusal", refused == expected, ", ".join(refused) or "none")
