"""One cluster for the whole run, and what is put into it: Vault in a pod, S3 on the node, Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import cluster as cluster_of_tests
from tests.support.kubernetes import site as site_of_tests
from tests.support.kubernetes.cluster import Cluster, NodeCluster
from tests.support.kubernetes.site import Services, Site, VaultSite
from tests.support.kubernetes.within import FOLDER, WHY_NOT


@pytest.fixture(scope="session")
def node_cluster() -> NodeCluster:
    """The cluster that was started here; it ends with the namespaces in which this process runs."""
    if reason := os.environ.get(WHY_NOT):
        pytest.skip(reason)
    if FOLDER not in os.environ:
        pytest.skip("a cluster is started by `make test-kubernetes`, in namespaces of its own")
    return cluster_of_tests.start(Path(os.environ[FOLDER]))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, otherwise one that is started here."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        found = cluster_of_tests.named(tmp_path_factory.mktemp("cluster"), Path(kubeconfig))
        yield found
        found.end()
        return
    yield request.getfixturevalue("node_cluster")


@pytest.fixture(scope="session")
def vault_site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultSite]:
    """OpenBao in a pod, set up for tests/kubernetes/access_policy.yaml."""
    yield site_of_tests.vault_site(cluster, tmp_path_factory.mktemp("operator"))
    if not isinstance(cluster, NodeCluster):
        site_of_tests.remove(cluster)


@pytest.fixture(scope="session")
def services(node_cluster: NodeCluster, vault_site: VaultSite) -> Iterator[Services]:
    """Vault and S3, set up for the same."""
    folder = node_cluster.folder / "s3"
    folder.mkdir(exist_ok=True)
    with site_of_tests.services(node_cluster, vault_site, folder) as made:
        yield made


@pytest.fixture(scope="session")
def site(services: Services) -> Iterator[Site]:
    """Airflow, whose tasks are pods."""
    folder = services.cluster.folder / "site"
    folder.mkdir(exist_ok=True)
    with site_of_tests.site(services, folder, os.urandom(8).hex()) as made:
        yield made
