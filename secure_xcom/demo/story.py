"""The demo's course: a real run, thieves, attacks on a second real run, and what each of them left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from secure_xcom.demo import attackers
from secure_xcom.demo.evidence import Attack, Evidence, Searched, Theft, XCom
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.demo.random_values import RandomValues
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.setup import prepare
from secure_xcom.ops.stored_row import StoredRow
from secure_xcom.ops.xcom_table import Database
from secure_xcom.stores.files import FileStore

DAG = "secure_xcom_demo"
ATTACKS_DAG = "secure_xcom_demo_attacks"
_NO_TIME = datetime.min.replace(tzinfo=timezone.utc)
_CONSUMERS = ("login", "balances", "readings")

Step = Callable[[str], AbstractContextManager[None]]


class Story:
    """One demo in one folder.

    :param step: a context manager that tells people what is being done.
    """

    def __init__(self, folder: Path, step: Step) -> None:
        self.folder = folder
        self._step = step
        self.keyring = folder / "keys" / "keyring.json"
        self.store = folder / "store"
        self.access_log = folder / "audit" / "access-log.jsonl"
        self.key_uri = f"local://{self.keyring}"
        self.store_uri = f"file://{self.store}"
        self._received = folder / "received"
        self._stolen = folder / "stolen"
        self._source = folder / "source.json"
        self.airflow = LocalAirflow(
            folder / "airflow",
            {
                "core.parallelism": "4",
                "core.xcom_backend": "secure_xcom.SecureXComBackend",
                "secure_xcom.key_uris": self.key_uri,
                "secure_xcom.store_uri": self.store_uri,
                "secure_xcom.audit_sinks": f"file://{self.access_log}",
                # All values of this pipeline count as secret, so that a thief may look for each of them.
                "secure_xcom.mask_values": "all",
            },
            environment={
                "SECURE_XCOM_DEMO_SOURCE": str(self._source),
                "SECURE_XCOM_DEMO_RECEIVED": str(self._received),
            },
        )

    def tell(self) -> Evidence:
        """Run everything; ends early, with what is known, if the pipeline itself fails.

        :raises SecureXComError: the demo cannot be run here.
        """
        with self._step("create a keyring and a store"):
            evidence = Evidence(self._prepare())
        with self.airflow:
            with self._step("create the database of a temporary Airflow"):
                self.airflow.migrate()
            with self._step("start its API server, scheduler and DAG processor"):
                self.airflow.start()
            with self._step("run the pipeline"):
                run_id = self.airflow.trigger(DAG)
                evidence.run_state = self.airflow.wait(DAG, run_id)
            self._gather_run(evidence, run_id)
            # Without objects there is nothing to steal or to tamper with, and the checks say so.
            if evidence.run_state == "success" and all(xcom.file for xcom in evidence.xcoms):
                with self._step("steal copies, tamper with the originals, and run tasks that pull them"):
                    self._steal_and_attack(evidence, run_id)
            with self._step("stop Airflow"):
                self.airflow.stop(patience=5)
        with self._step("read the logs"):
            self._gather_logs(evidence)
        return evidence

    def _prepare(self) -> RandomValues:
        source = RandomValues.generate()
        prepare([self.key_uri], self.store_uri)
        for needed in (self._received, self._stolen, self.airflow.dags_folder):
            needed.mkdir(mode=0o700, parents=True)
        self._source.touch(mode=0o600)
        self._source.write_text(source.dump())
        shutil.copyfile(Path(__file__).with_name("dag_file.py"), self.airflow.dags_folder / f"{DAG}.py")
        return source

    def _gather_run(self, evidence: Evidence, run_id: str) -> None:
        store = FileStore(self.store_uri)
        evidence.xcoms = [
            XCom.read(row.task_id, row.map_index, str(row.text), store, self.store) for row in self._rows(run_id)
        ]
        for name in _CONSUMERS:
            file = self._received / f"{name}.json"
            if file.exists():
                evidence.received[name] = json.loads(file.read_text())
        for line in _lines(self.airflow.log_text(DAG, run_id, "log_in")):
            if str(line.get("event", "")).startswith("logging in to"):
                evidence.printed = line["event"]
        for instance in self.airflow.task_instances(DAG, run_id):
            if instance["state"] == "failed":
                log_text = self.airflow.log_text(DAG, run_id, instance["task_id"], instance["map_index"])
                evidence.failures.append(f"{instance['task_id']}: {': '.join(_error_of(log_text))}")

    # --- thieves and attackers ------------------------------------------------------------------------------

    def _steal_and_attack(self, evidence: Evidence, run_id: str) -> None:
        attackers.copy_database(self.airflow.database, self._stolen / "airflow.db")
        shutil.copytree(self.store, self._stolen / "store")
        # The database's files as they lie there hold more than a copy of its tables: old pages and its journal.
        for file in self.airflow.folder.glob("airflow.db*"):
            shutil.copyfile(file, self._stolen / f"raw-{file.name}")
        targets = self._tamper(evidence, run_id)
        attack_run = self.airflow.trigger(
            ATTACKS_DAG, {"targets": {name: target for name, (_, _, target) in targets.items()}}
        )
        self._try_thefts(evidence)
        self.airflow.wait(ATTACKS_DAG, attack_run)
        for instance in self.airflow.task_instances(ATTACKS_DAG, attack_run):
            what, expected, _ = targets[instance["task_id"]]
            error, message = _error_of(self.airflow.log_text(ATTACKS_DAG, attack_run, instance["task_id"]))
            evidence.attacks.append(Attack(instance["task_id"], what, expected, instance["state"], error, message))
        evidence.attacks.sort(key=lambda attack: list(targets).index(attack.name))

    def _rows(self, run_id: str) -> list[StoredRow]:
        with closing(Database(f"sqlite:///{self.airflow.database}")) as database:
            rows = [row for row in database.rows(dag_id=DAG) if row.run_id == run_id]
        return sorted(rows, key=lambda row: row.timestamp or _NO_TIME)

    def _write(self, run_id: str, task_id: str, map_index: int, value: object) -> None:
        """Write over the value of a row, as somebody does who has the database."""
        with closing(Database(f"sqlite:///{self.airflow.database}")) as database:
            for row in self._rows(run_id):
                if (row.task_id, row.map_index) == (task_id, map_index):
                    database.replace(row, value)

    def _tamper(self, evidence: Evidence, run_id: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Edit rows and an object; by attack: what was done, the error that it is to meet, what is pulled."""
        self._write(run_id, "read_balance", 1, evidence.xcom("get_login").row)
        edited = evidence.xcom("read_balance", 2).row
        edited["head"]["created"] = "2037-01-01T00:00:00Z"
        self._write(run_id, "read_balance", 2, edited)
        large = evidence.xcom("get_readings").file
        if large is not None:
            payload = bytearray(large.read_bytes())
            payload[len(payload) // 2] ^= 1
            large.write_bytes(payload)

        def target(task_id: str, map_index: int = -1) -> dict[str, Any]:
            return {"run_id": run_id, "task_ids": task_id, "map_indexes": map_index}

        return {
            "untouched": ("nothing", "", target("get_login")),
            "replayed": (
                "get_login's row copied over read_balance[1]'s, by SQL",
                "CoordinateMismatch",
                target("read_balance", 1),
            ),
            "edited_head": (
                "the time in read_balance[2]'s head edited, by SQL",
                "HeadTampered",
                target("read_balance", 2),
            ),
            "edited_object": (
                "one bit in the middle of get_readings' object flipped",
                "PayloadTampered",
                target("get_readings"),
            ),
        }

    def _try_thefts(self, evidence: Evidence) -> None:
        row = evidence.xcom("get_login").row
        own_keyring = f"local://{self._stolen}/keys/keyring.json"
        own_store = f"file://{self._stolen}/empty"
        prepare([own_keyring], own_store)
        key_of_his_own, real_key = LocalKeyring(own_keyring), LocalKeyring(self.key_uri)
        nothing, stolen_store = FileStore(own_store), FileStore(f"file://{self._stolen}/store")
        payloads = attackers.files_below(self._stolen / "store")
        large = max(payloads, key=lambda file: file.stat().st_size).read_bytes()

        def pull(service: LocalKeyring, store: FileStore) -> attackers.Attempt:
            return attackers.read(row, self.key_uri, self.store_uri, service, store)

        evidence.thefts = [
            Theft(
                "the database", "a pull, with a keyring of his own", "UnwrapRefused", pull(key_of_his_own, nothing)
            ),
            Theft("the database and the keyring", "a pull", "ObjectMissing", pull(real_key, nothing)),
            Theft(
                "the bucket, even with the keyring",
                "to open an object, without a wrapped key",
                "HeadTampered",
                attackers.open_without_reference(large),
            ),
            Theft(
                "the database and the bucket",
                "a pull, with a keyring of his own",
                "UnwrapRefused",
                pull(key_of_his_own, stolen_store),
            ),
            Theft(
                "the database, the bucket and the keyring",
                "a pull, to show that it would work",
                "",
                pull(real_key, stolen_store),
            ),
        ]
        needles = evidence.source.needles()
        rows = [file for file in attackers.files_below(self._stolen) if ".db" in file.name]
        for name, files, wanted in (
            ("the stolen database", rows, needles),
            ("the stolen bucket", payloads, {**needles, "a wrapped data key": row["keys"][0]["wrapped"]}),
        ):
            finds, size = attackers.search(wanted, files)
            evidence.searched.append(Searched(name, tuple(finds), size))
        evidence.entropy, evidence.compressible = attackers.entropy(large), attackers.compressible(large)

    def _gather_logs(self, evidence: Evidence) -> None:
        needles = evidence.source.needles()
        for name, files in (
            ("task logs", attackers.files_below(self.airflow.logs)),
            ("the components' own output", attackers.files_below(self.airflow.output)),
            ("the access log", [self.access_log] if self.access_log.exists() else []),
        ):
            finds, size = attackers.search(needles, files)
            evidence.searched.append(Searched(name, tuple(finds), size))
        if self.access_log.exists():
            evidence.access_log = _lines(self.access_log.read_text())


def _lines(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a log, one a line; a task's log has other lines too."""
    records = []
    for line in text.splitlines():
        if line.startswith("{"):
            records.append(dict(json.loads(line)))
    return records


def _error_of(log_text: str) -> tuple[str, str]:
    """Return the class and the message of the error that ended a task, as its log has them."""
    for line in reversed(_lines(log_text)):
        for detail in line.get("error_detail") or ():
            return str(detail["exc_type"]), str(detail["exc_value"])
    return "", ""
