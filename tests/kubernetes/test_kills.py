"""Pods that end in the middle of a push and of a pull: every retry ends right, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kubernetes.cluster import NodeCluster
from tests.support.kubernetes.node_files import NODE
from tests.support.kubernetes.site import NAMESPACE, Site
from tests.support.servers.faulty_proxy import Fault

DAG_ID = "finance_faults"
TASKS = ("pushes", "pulls")
# Longer than it takes to end the pod whose request this holds up.
HELD_SECONDS = 45.0


def forced(cluster: NodeCluster, pod: Any) -> None:
    """Delete the pod without grace, as `kubectl delete --force --grace-period=0` does."""
    cluster.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE, grace_period_seconds=0)


def killed(cluster: NodeCluster, pod: Any) -> None:
    """Kill the container's processes, as the kernel does where memory ends."""
    container = pod.status.container_statuses[0].container_id.removeprefix("containerd://")
    cluster.ctr("task", "kill", "--signal", "SIGKILL", container)


def gentle(cluster: NodeCluster, pod: Any) -> None:
    """Delete the pod with its grace."""
    cluster.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE)


def drained(cluster: NodeCluster, pod: Any) -> None:
    """Evict the pod from its node, which takes no new one: what `kubectl drain` does."""
    cluster.core.patch_node(NODE, {"spec": {"unschedulable": True}})
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.metadata.name}}
    cluster.core.create_namespaced_pod_eviction(pod.metadata.name, NAMESPACE, body)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        # The request has not reached the bucket, or it has and its answer is on the way.
        (forced, "drop"),
        (killed, "wait"),
        (gentle, "drop"),
        (drained, "wait"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_retry_ends_right(site: Site, end: Callable[[NodeCluster, Any], None], kind: Any) -> None:
    """Both tasks end right, what was pushed is read, and every row's payload is in the bucket.

    A pod that has its grace may end right within it, at its first try.
    """
    run_id, proxy = end.__name__, site.services.proxy
    before = orphans(site)
    proxy.faults += [
        Fault(kind, method="PUT", path=f"/{DAG_ID}/{run_id}/pushes/", seconds=HELD_SECONDS),
        Fault(kind, method="GET", path=f"/{DAG_ID}/{run_id}/seed/", seconds=HELD_SECONDS),
    ]
    site.airflow.trigger(DAG_ID, run_id=run_id)
    site.until(lambda: not proxy.faults, "each pod is in the middle of its push or pull", timeout=180)
    if kind == "wait":
        site.until(lambda: objects_of(site, run_id, "pushes") != [], "the object is put")
    try:
        pods = [pod for task_id in TASKS for pod in site.pods(DAG_ID, run_id, task_id)]
        for pod in pods:
            end(site.cluster, pod)
        if end is drained:
            # Their successors wait for a node.
            gone = {pod.metadata.name for pod in pods}
            site.until(
                lambda: all(ended(pod) for pod in site.pods(DAG_ID, run_id) if pod.metadata.name in gone),
                "the node is drained",
            )
    finally:
        if end is drained:
            site.cluster.core.patch_node(NODE, {"spec": {"unschedulable": False}})
    assert site.airflow.wait(DAG_ID, run_id, timeout=300) == "success", site.logs(DAG_ID, run_id)[-6000:]
    states = site.states(DAG_ID, run_id)
    assert {state for state, _ in states.values()} == {"success"}
    if end in (forced, killed):
        assert all(states[task_id][1] >= 2 for task_id in TASKS), states
    assert dict(site.notes(DAG_ID, run_id, "reads")) == {"pushed": "equal"}
    assert lost(site) == set()
    left = orphans(site) - before
    print(run_id, states, f"{len(left)} orphans")
    # What a killed pod had put, and no row names, is for gc.
    assert len(left) == (1 if kind == "wait" and states["pushes"][1] >= 2 else 0)


def ended(pod: Any) -> bool:
    """Whether nothing of a pod runs any more."""
    return pod.status.phase in ("Succeeded", "Failed")


def objects_of(site: Site, run_id: str, task_id: str) -> list[str]:
    """Return the objects that a task of the run put."""
    return [name for name in site.services.objects() if f"/{DAG_ID}/{run_id}/{task_id}/" in name]


def _named(site: Site) -> set[str]:
    values = [value for (value,) in site.rows("SELECT value FROM xcom WHERE dag_id NOT LIKE '%_stock'")]
    read = [json.loads(value) if isinstance(value, str) else value for value in values]
    return {value["head"]["object"].removeprefix("s3://xcom/") for value in read if value["head"].get("object")}


def orphans(site: Site) -> set[str]:
    """Return the objects that no row names."""
    return set(site.services.objects()) - _named(site)


def lost(site: Site) -> set[str]:
    """Return what rows name and the bucket does not have."""
    shredded = {name for name in _named(site) if "/finance_exclusive/" in name}
    return _named(site) - set(site.services.objects()) - shredded
