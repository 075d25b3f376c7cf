"""What is wrong with an XCom, or worth knowing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.airflow.plugin.ui.who_may import compartment_of
from secure_xcom.core import clock
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.expiry import expiry_of
from secure_xcom.core.findings import Severity
from secure_xcom.core.pipeline.open_payload import SKEW, check_content, check_restrictions, place_within
from secure_xcom.core.reference import TIME_FORMAT, Reference
from secure_xcom.keys import KeyUri, openers, version_of

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
_LEFT = timedelta(days=1)
LINK_PREFIX = "_link_"
"""Of the keys under which Airflow keeps operators' extra links (airflow/sdk/bases/operatorlink.py, xcom_key)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing."""

    kind: str
    severity: Severity
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as the page has it."""
        return {"kind": self.kind, "severity": self.severity, "text": self.text, "remedy": self.remedy}

    @classmethod
    def of_error(cls, error: SecureXComError) -> Finding:
        """Return the finding that an error of ours is."""
        return cls(type(error).__name__, "error", sentence(error.what), sentence(error.remedy))


def sentence(text: str) -> str:
    """Return a clause of an error as a sentence."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def worst(problems: list[Finding]) -> Severity | None:
    """Return the worst severity, None where nothing was found."""
    return min((finding.severity for finding in problems), key=_ORDER.index, default=None)


def findings(xcom: XCom, deployment: Deployment, newest: Mapping[str, int]) -> list[Finding]:
    """Return what is to be said of an XCom.

    :param newest: the newest version of each wrapping key, as far as maintenance has counted.
    """
    if xcom.state == "plaintext":
        return [_plaintext(xcom, deployment)]
    if xcom.reference is None:
        return [] if xcom.refusal is None else [Finding.of_error(xcom.refusal)]
    problems = list(_of_reference(xcom, xcom.reference, deployment))
    if xcom.state != "shredded":
        problems += _old_wraps(xcom.reference, newest)
    return sorted(problems, key=lambda finding: _ORDER.index(finding.severity))


def _plaintext(xcom: XCom, deployment: Deployment) -> Finding:
    if xcom.stored.place.key.startswith(LINK_PREFIX):
        return Finding(
            "operator-link",
            "note",
            "This is the address of an operator's extra link, which Airflow stores without any XCom backend.",
            "Check that the operator puts no secret into its link.",
        )
    text = "This value is stored in plaintext: what wrote it bypassed the backend."
    remedy = "Seal it with `secure-xcom migrate --apply`, or delete the row; then find out what wrote it."
    if deployment.settings.on_plaintext == "refuse":
        text += " A pull refuses it."
    return Finding("plaintext-row", "error", text, remedy)


def _of_reference(xcom: XCom, reference: Reference, deployment: Deployment) -> Iterator[Finding]:
    head, now = reference.head, clock.now()
    where = ""
    if xcom.state == "shredded":
        yield Finding(
            "shredded",
            "note",
            f"Its one reader has read it, and its data key was destroyed at {reference.shredded}.",
            "Nothing needs to be done; clear the producing task if the value is needed again.",
        )
    if xcom.state == "expired":
        yield from _expired(xcom, reference, deployment, now)
    if head.created > (now + SKEW).strftime(TIME_FORMAT):
        yield Finding(
            "created-in-the-future",
            "warning",
            f"It says that it was pushed at {head.created}, over an hour ahead of this machine's clock.",
            "Compare the clocks of the workers and of the API server; then find out who wrote this row.",
        )
    if deployment.policy is None:
        return
    compartment = compartment_of(xcom, deployment)
    if compartment is None or compartment.name != head.compartment:
        belongs = (
            "its DAG belongs to no compartment"
            if compartment is None
            else f"its DAG belongs to {compartment.name}"
        )
        yield Finding(
            "CompartmentUnknown",
            "error",
            f"The reference is of compartment {head.compartment}, but {belongs}, so no pull opens it.",
            "Clear the producing task if its DAG was moved to another compartment; otherwise find out who "
            "wrote it.",
        )
    if xcom.compartment is None or xcom.state == "shredded":
        return
    try:
        check_restrictions(reference, where)
        check_content(reference, deployment.settings.max_bytes, where)
        place_within(reference, xcom.compartment, where)
    except SecureXComError as error:
        yield Finding.of_error(error)
    if not openers(xcom.compartment.all_key_uris, [(key.uri, key.wrapped) for key in reference.keys]):
        yield Finding(
            "ContextRefused",
            "error",
            f"None of its wrapping keys belongs to compartment {xcom.compartment.name}, so no pull opens it.",
            "List the key under the compartment's key_uris (with `?wrap=never`), or find out who wrote this row.",
        )
    over = expiry_of(head, xcom.compartment.lasts(head.key))
    if head.expires is None and over is not None and over < now:
        yield Finding(
            "retention-over",
            "note",
            "It was pushed before its compartment had a retention period; by the current one, it has expired.",
            "`secure-xcom expire --apply` deletes it.",
        )


def _expired(xcom: XCom, reference: Reference, deployment: Deployment, now: datetime) -> Iterator[Finding]:
    run = xcom.stored.run
    hold = None if deployment.policy is None else deployment.policy.held(run.dag_id, run.run_id)
    over = expiry_of(reference.head, None)
    if hold is not None:
        yield Finding(
            "expired-held",
            "note",
            f"It expired at {reference.head.expires}, and the legal hold {hold.name} keeps it.",
            "`secure-xcom open --expired` opens it for people with the rights.",
        )
    elif over is not None and over < now - _LEFT:
        yield Finding(
            "expired-row",
            "warning",
            f"It expired at {reference.head.expires} and still exists.",
            "Run `secure-xcom expire --apply`, or let the maintenance DAG do it.",
        )


def _old_wraps(reference: Reference, newest: Mapping[str, int]) -> Iterator[Finding]:
    for key in reference.keys:
        version, latest = version_of(key.wrapped), newest.get(KeyUri.parse(key.uri).name)
        if version is not None and latest is not None and version < latest:
            yield Finding(
                "stale-wrap",
                "warning",
                f"Its data key is wrapped by version {version} of {key.uri}; version {latest} is in use.",
                "Run `secure-xcom rewrap --apply`, or let the maintenance DAG do it.",
            )
