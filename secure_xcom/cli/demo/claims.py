"""The demo's claims, each checked against what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secure_xcom.cli.demo.evidence import Evidence
from secure_xcom.cli.demo.source import ACCOUNTS
from secure_xcom.errors import SecureXComError
from secure_xcom.masking import MASK
from secure_xcom.reference import TARGET_BYTES

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
class Claim:
    """One claim, whether it held, and by what."""

    name: str
    held: bool
    detail: str


def check(evidence: Evidence) -> list[Claim]:
    """Every claim of the demo; of a pipeline that failed there is only one to check."""
    ran = Claim("the pipeline ran, unchanged", evidence.run_state == "success", evidence.run_state)
    if not ran.held:
        return [Claim(ran.name, False, f"{ran.detail}: {'; '.join(evidence.failures)}")]
    return [
        ran,
        *_at_rest(evidence),
        *_consumers(evidence),
        *_thieves(evidence),
        *_attacks(evidence),
        *_log(evidence),
    ]


def _at_rest(evidence: Evidence) -> Iterator[Claim]:
    counted = {name: sum(xcom.task_id == name for xcom in evidence.xcoms) for name in _PUSHED}
    no_reference, sizes = [], []
    for xcom in evidence.xcoms:
        try:
            sizes.append((xcom.name, len(xcom.payload()), xcom.reference.size))
        except SecureXComError as error:
            no_reference.append(f"{xcom.name}: {error.what}")
    yield Claim(
        "every row is a reference, and every value has one",
        counted == _PUSHED and not no_reference,
        ", ".join(no_reference) or f"{len(evidence.xcoms)} rows",
    )
    largest = max((len(xcom.row_text) for xcom in evidence.xcoms), default=0)
    yield Claim(
        "every row is under 2 KiB, the large value's too", largest < TARGET_BYTES, f"the largest: {largest} bytes"
    )
    wrong = [name for name, found, said in sizes if found != said]
    yield Claim(
        "every payload lies in the store, one object each",
        bool(sizes) and not wrong,
        ", ".join(wrong) or f"{len(sizes)} objects",
    )


def _consumers(evidence: Evidence) -> Iterator[Claim]:
    expected = evidence.source.expected()
    for name, what in (
        ("login", "the dict with the password"),
        ("balances", "the mapped tasks' values"),
        ("readings", "the large value"),
    ):
        got = evidence.received.get(name)
        # As JSON, because Python takes 1 and 1.0 for equal.
        same = repr(got) == repr(expected[name])
        yield Claim(f"the consumer got {what} as pushed", same, "equal" if same else "another value")
    # A host, a password and a token are printed in the one line.
    yield Claim(
        "what the consumer printed is masked in its log",
        evidence.printed.count(MASK) == 3,
        evidence.printed or "the line is missing",
    )


def _thieves(evidence: Evidence) -> Iterator[Claim]:
    for searched in evidence.searched:
        yield Claim(
            f"no value in any byte of {searched.name}",
            not searched.finds and searched.size > 0,
            "; ".join(searched.finds) or f"{searched.size:,} bytes searched",
        )
    yield Claim(
        "the bucket's bytes look random and do not compress",
        evidence.entropy > _RANDOM_BITS and not evidence.compressible,
        f"{evidence.entropy:.4f} of 8 bits per byte",
    )
    for theft in evidence.thefts:
        stopped = theft.attempt.stopped_by
        if theft.expected:
            yield Claim(
                f"a thief with {theft.has} gets nothing", stopped == theft.expected, stopped or "he read it"
            )
        else:
            opened = theft.attempt.value == evidence.source.login
            yield Claim(f"with {theft.has} the same code opens it", opened, stopped or "opened")


def _attacks(evidence: Evidence) -> Iterator[Claim]:
    for attack in evidence.attacks:
        if attack.expected:
            yield Claim(
                f"refused in a real task: {attack.what}",
                (attack.state, attack.error) == ("failed", attack.expected),
                f"{attack.state}, {attack.error or 'no error'}",
            )
        else:
            yield Claim("an untouched XCom opens in the same run", attack.state == "success", attack.state)
    yield Claim("all attacks were run", len(evidence.attacks) == 4, f"{len(evidence.attacks)} of 4")


def _log(evidence: Evidence) -> Iterator[Claim]:
    log = evidence.access_log
    pushed = sum((event["action"], event["outcome"]) == ("push", "ok") for event in log)
    yield Claim("the access log has every push", pushed == len(evidence.xcoms), f"{pushed} pushes")
    pulled = sum((event["action"], event["outcome"]) == ("pull", "ok") for event in log)
    missing = _PULLED - {
        (event["producer"]["task_id"], event["producer"]["map_index"], event["consumer"]["task_id"])
        for event in log
        if (event["action"], event["outcome"]) == ("pull", "ok")
    }
    yield Claim(
        "the access log has every pull", not missing, str(sorted(missing)) if missing else f"{pulled} pulls"
    )
    refused = sorted(str(event.get("error")) for event in log if event["outcome"] == "refused")
    expected = sorted(attack.expected for attack in evidence.attacks if attack.expected)
    yield Claim("the access log has every refusal", refused == expected, ", ".join(refused) or "none")
