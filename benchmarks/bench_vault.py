"""What Vault costs: many unwraps in batches against one by one, requests of a task, and what is imported.

    python benchmarks/bench_vault.py [--count XCOMS]

Vault is a real server on loopback (tests/support/servers/vault_binary.py says which), so a request costs less here
than over a network, and the gain of batches is a lower bound. Every figure is a ratio of two measurements of one
run.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hvac

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.sinks.access_log import AccessLog
from tests.support.doubles import MemorySink
from tests.support.servers.faulty_proxy import faulty_proxy
from tests.support.servers.vault_binary import openbao_binary, vault_binary
from tests.support.servers.vault_realm import Realm, new_realm
from tests.support.servers.vault_server import VaultServer, dev_server

# Before the pull of 1,000 mapped XComs is called fast.
LEAST_GAIN = 10


def seconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def use(address: str, token: str) -> None:
    """Let `default` be this Vault."""
    os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"] = address, token
    forget_clients()


def batches(realm: Realm, count: int) -> bool:
    """Unwraps of a mapped task's instances: in batches, one by one, one by one by hvac, and scoped."""
    use(realm.server.address, realm.server.token)
    key = realm.new_key()
    service = VaultTransit(realm.uri("default", key))
    contexts = [
        encryption_context("finance", Coordinate("orders", "run", "extract", at, "k")) for at in range(count)
    ]
    wraps = [Wrap(service.wrap(DataKey.generate(), context), context) for context in contexts]
    client = hvac.Client(url=realm.server.address, token=realm.server.token).secrets.transit

    def by_hvac() -> None:
        for wrap in wraps:
            context = base64.b64encode(transit_context(wrap.context)).decode()
            client.decrypt_data(key, wrap.wrapped, context=context, mount_point=realm.transit)

    def one_by_one() -> None:
        for wrap in wraps:
            service.unwrap_many([wrap])

    scoped = VaultTransit(realm.uri("default", key, "?grant=scoped"))
    together = min(seconds(lambda: service.unwrap_many(wraps)) for _ in range(3))
    single, plain, limited = seconds(one_by_one), seconds(by_hvac), seconds(lambda: scoped.unwrap_many(wraps))
    print(f"{count} unwraps in batches of 200:          {together * 1000:7.0f} ms")
    print(f"  one by one takes                    {single / together:7.1f} times as long")
    print(f"  one by one by hvac takes            {plain / together:7.1f} times as long")
    print(f"  a scoped grant (8 at a time) takes  {limited / together:7.1f} times as long")
    return single / together >= LEAST_GAIN


def process(key_uri: str, store_uri: str) -> Pipeline:
    """The pipeline of a new task process."""
    return Pipeline(
        Settings(),
        AccessPolicy.single([key_uri], store_uri),
        AccessLog([MemorySink()], version="benchmark"),
        SensitiveNames(set()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda _secrets: None,
    )


def requests(realm: Realm) -> bool:
    """How many requests a task's XComs cost, and what the second one takes against the first."""
    key = realm.new_key()
    with faulty_proxy(realm.server.address) as proxy:
        use(proxy.endpoint, realm.server.token)
        uri, store_uri = realm.uri("default", key), f"memory://{uuid.uuid4().hex}"
        at = [Coordinate("orders", "run", "upstream", -1, f"k{number}") for number in range(20)]
        upstream = process(uri, store_uri).push([Push(one, "value") for one in at])
        use(proxy.endpoint, realm.server.token)
        task = process(uri, store_uri)
        proxy.seen.clear()
        for reference in upstream:
            task.pull([Row(reference)])
        first = seconds(lambda: task.push([Push(Coordinate("orders", "run", "load", -1, "first"), "value")]))
        asked = len(proxy.seen)
        second = seconds(lambda: task.push([Push(Coordinate("orders", "run", "load", -1, "second"), "value")]))
        more = len(proxy.seen) - asked
        for number in range(18):
            task.push([Push(Coordinate("orders", "run", "load", -1, f"k{number}"), "value")])
        counted = [line for line in proxy.seen if "/auth/" not in line]
    login = len(proxy.seen) - len(counted)
    print(f"a task that pulls 20 and pushes 20:   {len(counted)} requests, {login} for the login")
    print(
        f"the second XComs of a try:            {more} requests, {first / second:.1f} times as fast as the first"
    )
    return len(counted) <= 2 and more == 0


def imports() -> None:
    """What the Vault hook and hvac cost a process, against what a task process imports anyway."""
    measure = (
        "import time\nimport airflow.sdk\nbegun = time.perf_counter()\n{}\nprint(time.perf_counter() - begun)"
    )

    def fresh(code: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", measure.format(code)], capture_output=True, text=True, check=True
        )
        return float(done.stdout.splitlines()[-1])

    hook = min(fresh("import airflow.providers.hashicorp.hooks.vault") for _ in range(3))
    backend = min(fresh("from secure_xcom import SecureXComBackend") for _ in range(3))
    environment = min(fresh("import secure_xcom.keys.vault, requests") for _ in range(3))
    print(f"import of the backend:                {backend * 1000:7.0f} ms, without hvac and requests")
    print(
        f"import of the hook with hvac:         {hook * 1000:7.0f} ms, at the first wrap or unwrap by a connection"
    )
    print(f"import for the environment's token:   {environment * 1000:7.0f} ms, at the first wrap or unwrap")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="unwraps of one pull")
    count = parser.parse_args().count
    flavour, binary = ("vault", vault_binary()) if vault_binary() else ("openbao", openbao_binary())
    if binary is None:
        raise SystemExit("no Vault and no OpenBao on this machine")
    with tempfile.TemporaryDirectory() as folder, dev_server(binary, Path(folder), flavour) as server:
        print(f"server:                               {version(server)}")
        with new_realm(server) as realm:
            held = [batches(realm, count), requests(realm)]
    imports()
    if not all(held):
        raise SystemExit(f"batches are to be {LEAST_GAIN} times as fast, and a task's requests at most two")


def version(server: VaultServer) -> str:
    """What it is."""
    return f"{server.flavour} {server.do('GET', 'sys/health')['version']}"


if __name__ == "__main__":
    main()
