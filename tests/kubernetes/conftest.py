"""One cluster for the whole run, and what is put into it: Vault in a pod, S3 on the node, Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import cluster as cluster_of_tests
from tests.support.kubernetes import site as site_of_tests
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.site import Services, Site
from tests.support.kubernetes.within import FOLDER, WHY_NOT


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster; it ends with the namespaces in which this process runs."""
    if reason := os.environ.get(WHY_NOT):
        pytest.skip(reason)
    if FOLDER not in os.environ:
        pytest.skip("a cluster is started by `make test-kubernetes`, in namespaces of its own")
    return cluster_of_tests.start(Path(os.environ[FOLDER]))


@pytest.fixture(scope="session")
def services(cluster: Cluster) -> Iterator[Services]:
    """Vault and S3, set up for tests/kubernetes/access_policy.yaml."""
    folder = cluster.folder / "services"
    folder.mkdir()
    with site_of_tests.services(cluster, folder) as made:
        yield made


@pytest.fixture(scope="session")
def site(services: Services) -> Iterator[Site]:
    """Airflow, whose tasks are pods."""
    folder = services.cluster.folder / "site"
    folder.mkdir()
    with site_of_tests.site(services, folder, os.urandom(8).hex()) as made:
        yield made
