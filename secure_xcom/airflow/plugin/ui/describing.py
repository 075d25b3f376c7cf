"""An XCom as the page has it: JSON of texts, numbers and nulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from secure_xcom.airflow.plugin.ui import previews
from secure_xcom.airflow.plugin.ui.copyable_commands import open_command, search_command
from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.airflow.plugin.ui.times import text_of
from secure_xcom.airflow.plugin.ui.who_may import who_may
from secure_xcom.airflow.plugin.ui.xcom_findings import Finding, findings, worst
from secure_xcom.core.access_policy.globs import any_matches
from secure_xcom.core.expiry import expiry_of
from secure_xcom.core.reference import Head, Reference, WrappedKey
from secure_xcom.keys import version_of

_SERVICES = {"vault": "Vault", "aws-kms": "AWS KMS", "local": "local keyring"}


def row(xcom: XCom, deployment: Deployment, newest: Mapping[str, int]) -> dict[str, Any]:
    """Return an XCom as it stands in a list."""
    return _row(xcom, deployment, findings(xcom, deployment, newest))


def whole(
    xcom: XCom,
    deployment: Deployment,
    newest: Mapping[str, int],
    *,
    written_by: dict[str, Any] | None,
    claim: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return an XCom with all that is known of it."""
    problems = findings(xcom, deployment, newest)
    preview, frame, trouble = _preview(xcom, deployment)
    problems += trouble
    coordinate = xcom.coordinate
    opens = xcom.head is not None and xcom.head.exclusive is None and _may_open(xcom, deployment)
    return {
        **_row(xcom, deployment, problems),
        "findings": [finding.as_json() for finding in problems],
        "written_by": written_by,
        "may_pull": who_may(xcom, deployment),
        "may_pull_unknown": deployment.text if deployment.policy is None else None,
        "preview": preview,
        "frame": frame,
        "claim": claim,
        "open_command": open_command(coordinate) if coordinate is not None and opens else None,
        "search_command": None if coordinate is None else search_command(coordinate),
        "reveal": _reveal(xcom, deployment),
    }


def _may_open(xcom: XCom, deployment: Deployment) -> bool:
    if xcom.state == "expired":
        run = xcom.stored.run
        return deployment.policy is not None and deployment.policy.held(run.dag_id, run.run_id) is not None
    return xcom.state == "sealed"


def _reveal(xcom: XCom, deployment: Deployment) -> dict[str, Any] | None:
    """Return where people may look at the value, None where nobody may: a picture, since the service decides."""
    policy, head, compartment = deployment.policy, xcom.head, xcom.compartment
    if policy is None or policy.reveal is None or compartment is None or head is None:
        return None
    if xcom.state != "sealed" or head.exclusive is not None:
        return None
    if not any(
        any_matches(viewer.dags, head.dag_id) and any_matches(viewer.tasks, head.task_id)
        for viewer in compartment.viewers
    ):
        return None
    return {"origin": policy.reveal.origin, "attempt": head.attempt}


def _row(xcom: XCom, deployment: Deployment, problems: list[Finding]) -> dict[str, Any]:
    stored, head, reference = xcom.stored, xcom.head, xcom.reference
    run, place = stored.run, stored.place
    hold = None if deployment.policy is None else deployment.policy.held(run.dag_id, run.run_id)
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": place.task_id,
        "map_index": place.map_index,
        "key": place.key,
        "run_after": text_of(run.run_after),
        "attempt": None if stored.attempt is None else asdict(stored.attempt),
        "state": xcom.state,
        "compartment": xcom.compartment_name,
        "size": None if reference is None else reference.size,
        "codec": None if head is None else head.codec,
        "compression": None if head is None else head.compression,
        "payload": None if reference is None else _payload(reference),
        "keys": [] if reference is None else [_key(key) for key in reference.keys],
        "pushed": text_of(stored.written) if head is None else head.created,
        "kept_until": None if head is None else _kept_until(xcom, head),
        "shredded": None if reference is None else reference.shredded,
        "exclusive": head is not None and head.exclusive is not None,
        "legal_hold": None if hold is None else {"name": hold.name, "reason": hold.reason},
        "worst": worst(problems),
        "finding_count": len(problems),
    }


def _kept_until(xcom: XCom, head: Head) -> str | None:
    lasts = None if xcom.compartment is None else xcom.compartment.lasts(head.key)
    return text_of(expiry_of(head, lasts))


def _payload(reference: Reference) -> dict[str, Any]:
    uri = reference.head.object
    if reference.shredded is not None:
        return {"kind": "destroyed", "text": "destroyed with its data key", "uri": uri}
    if uri is None:
        return {"kind": "inline", "text": "in the reference, in Airflow's database", "uri": None}
    scheme = uri.partition("://")[0]
    return {"kind": scheme, "text": f"in the store ({scheme})", "uri": uri}


def _key(key: WrappedKey) -> dict[str, Any]:
    version = version_of(key.wrapped)
    scheme, _, rest = key.uri.partition("://")
    service = _SERVICES.get(scheme, scheme)
    name = rest.rpartition("/")[2] if scheme != "aws-kms" else rest.partition("/")[2] or rest
    number = "" if version is None else f", version {version}"
    return {"uri": key.uri, "text": f"{service} {name}{number}", "version": version}


def _preview(xcom: XCom, deployment: Deployment) -> tuple[dict[str, Any], dict[str, Any] | None, list[Finding]]:
    nothing = {"kind": "none", "value": None}
    if xcom.preview is None or xcom.head is None:
        return nothing, None, []
    picture = previews.bounded(xcom.preview)
    if picture is previews.TOO_LARGE:
        trouble = Finding(
            "preview-too-large",
            "warning",
            "Its preview is larger than any that a push writes, so something else wrote this row.",
            "Find out who can write to Airflow's database.",
        )
        return nothing, None, [trouble]
    kind = deployment.settings.preview if deployment.settings.preview != "none" else "shape"
    return {"kind": kind, "value": picture}, previews.frame(xcom.head.codec, picture), []
