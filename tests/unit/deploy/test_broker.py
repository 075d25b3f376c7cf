"""The broker's logins of deploy/compose: the ACL file that make-secrets writes, and what Celery is told to agree.

That the broker enforces it is shown on a real one: tests/real/test_broker.py and tests/e2e/test_distributed.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import sqlalchemy
import yaml
from sqlalchemy.orm import Session

from tests.support import deployed
from tests.support.deployed import COMPOSE

FILE = deployed.compose()
QUEUES = ("finance", "marketing")
RESULTS = "celery-task-meta-*"
CONNECTS = {"+ping", "+client|setinfo", "+multi", "+exec"}


@dataclass
class Rules:
    """What one set of rules allows: commands on keys, or channels."""

    commands: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    channels: set[str] = field(default_factory=set)


@dataclass
class User:
    """A line of an ACL file."""

    name: str
    on: bool = False
    passwords: list[str] = field(default_factory=list)
    nopass: bool = False
    rules: list[Rules] = field(default_factory=list)


def parse(text: str) -> dict[str, User]:
    """Read an ACL file; a rule that is not known here is an error."""
    found = {}
    for line in text.splitlines():
        word, name, *parts = re.findall(r"\([^)]*\)|\S+", line)
        assert word == "user", line
        user = User(name, rules=[Rules()])
        for part in parts:
            if part.startswith("("):
                user.rules.append(Rules())
                for inner in part[1:-1].split():
                    _apply(user, inner)
            else:
                assert len(user.rules) == 1, "what comes after a selector belongs to the user's own rules"
                _apply(user, part)
        found[name] = user
    return found


def _apply(user: User, rule: str) -> None:
    rules = user.rules[-1]
    if rule in ("on", "off"):
        user.on = rule == "on"
    elif rule == "nopass":
        user.nopass = True
    elif rule.startswith("#"):
        user.passwords.append(rule[1:])
    elif re.fullmatch(r"\+[a-z]+(\|[a-z]+)?", rule):
        rules.commands.add(rule)
    elif re.fullmatch(r"(~|%R~|%W~)\S+", rule):
        rules.keys.add(rule)
    elif rule.startswith("&"):
        rules.channels.add(rule)
    else:
        # All of these take away; a rule that gives more than it names is none of ours.
        assert rule in ("resetkeys", "resetchannels", "-@all"), rule


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets of one deployment."""
    return deployed.made_secrets(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def users(made: Path) -> dict[str, User]:
    """The logins of one deployment."""
    return parse((made / "broker.acl").read_text())


def test_every_login_is_one_that_somebody_has(users: dict[str, User]) -> None:
    """The scheduler, each queue's workers, a health check that can ping; the login of old has no password."""
    assert set(users) == {"default", "health", "scheduler", *(f"worker-{queue}" for queue in QUEUES)}
    assert {name for name, user in users.items() if not user.on} == {"default"}
    assert {name for name, user in users.items() if user.nopass} == {"health"}
    assert users["default"].rules == [Rules()]
    assert users["health"].rules == [Rules({"+ping"})]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_worker_has_its_queue_and_results_alone(users: dict[str, User], queue: str) -> None:
    """One key for its queue, no pattern; results and its own heartbeat; no command on anything else."""
    assert users[f"worker-{queue}"].rules == [
        Rules({*CONNECTS, "+brpop", "+lpush", "+llen"}, {f"~{queue}"}),
        Rules({"+get", "+setex"}, {f"~{RESULTS}"}),
        Rules({"+publish"}, set(), {f"&{RESULTS}", "&/0.celeryev/worker.*"}),
    ]


def test_the_scheduler_produces_and_reads_no_queue(users: dict[str, User]) -> None:
    """It may write into the queues, and read and await results."""
    assert users["scheduler"].rules == [
        Rules({*CONNECTS, "+lpush", "+llen"}, {f"%W~{queue}" for queue in QUEUES}),
        Rules({"+get", "+mget"}, {f"%R~{RESULTS}"}),
        Rules({"+subscribe", "+unsubscribe"}, set(), {f"&{RESULTS}"}),
    ]


def test_the_file_of_logins_has_no_password(made: Path, users: dict[str, User]) -> None:
    """Each login's password is in the address of who has it, and its hash alone in the broker's file."""
    addresses = {name: urlsplit((made / f"broker_{name}").read_text()) for name in ("scheduler", *QUEUES)}
    text = (made / "broker.acl").read_text()
    for name, address in addresses.items():
        user = users[address.username or ""]
        assert user.name == ("scheduler" if name == "scheduler" else f"worker-{name}")
        assert len(address.password or "") == 48
        assert user.passwords == [hashlib.sha256((address.password or "").encode()).hexdigest()]
        assert str(address.password) not in text
    assert len({address.password for address in addresses.values()}) == len(addresses)


def test_the_queues_are_those_of_the_access_policy() -> None:
    """make-secrets, the access policy, Celery's own list and the workers name the same queues."""
    policy = yaml.safe_load((COMPOSE / "access_policy.yaml").read_text())
    assert {own["tasks_run_on"]["queue"] for own in policy["compartments"]} == set(QUEUES)
    assert re.findall(r'^QUEUES="(.*)"$', (COMPOSE / "make-secrets").read_text(), re.M) == [" ".join(QUEUES)]
    assert set(_celery_settings("scheduler")["task_queues"]) == set(QUEUES)
    assert {name for name in FILE["services"] if name.startswith("worker-")} == {f"worker-{q}" for q in QUEUES}


def test_the_page_says_what_each_login_may(users: dict[str, User]) -> None:
    """The table of docs/how-to/separate-queues.md has each login's keys, commands and channels, and no others."""
    page = (deployed.ROOT / "docs/how-to/separate-queues.md").read_text()
    table = page.partition("| login | who has it |")[2].partition("\n\n")[0]
    told: dict[str, list[Rules]] = {}
    login = ""
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        login = cells[0].strip("`") or login
        keys, commands, channels = (set(re.findall(r"`([^`]+)`", cell)) for cell in cells[2:])
        told.setdefault(login, []).append(Rules({f"+{word.lower()}" for word in commands}, keys, channels))
    assert told == {
        name: [
            Rules(
                rules.commands - CONNECTS if name != "health" else rules.commands,
                {re.sub(r"^(~|%[RW]~)", "", key) for key in rules.keys},
                {channel[1:] for channel in rules.channels},
            )
            for rules in users[name].rules
        ]
        for name in ("scheduler", "worker-finance", "health", "default")
    }


@pytest.mark.parametrize("queue", ["fin*", "a b*", "a?", "[ab]", "a\\", "~", "a)"])
def test_a_queue_that_would_be_a_pattern_is_refused(queue: str, tmp_path: Path) -> None:
    """No name gets into the file that the broker would read as more than one key."""
    text = (COMPOSE / "make-secrets").read_text()
    script = tmp_path / "make-secrets"
    shutil.copy(COMPOSE / "make-secrets", script)
    script.write_text(text.replace('QUEUES="finance marketing"', f"QUEUES='finance {queue}'"))
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "use letters, digits" in done.stderr
    assert not (tmp_path / "secrets" / "broker.acl").exists()


def test_a_queue_that_is_added_gets_a_login_and_the_others_keep_theirs(tmp_path: Path) -> None:
    """Run again with one queue more, make-secrets writes its rules beside those that were there."""
    made = deployed.made_secrets(tmp_path)
    before = parse((made / "broker.acl").read_text())
    script = tmp_path / "make-secrets"
    script.write_text(script.read_text().replace('QUEUES="finance', 'QUEUES="audit finance'))
    subprocess.run([script], check=True, capture_output=True)
    after = parse((made / "broker.acl").read_text())
    assert set(after) - set(before) == {"worker-audit"}
    assert all(after[name] == user for name, user in before.items() if name != "scheduler")
    assert after["scheduler"].passwords == before["scheduler"].passwords
    assert after["scheduler"].rules[0].keys == {"%W~audit", "%W~finance", "%W~marketing"}


# --- what the rules rely on in Celery -----------------------------------------------------------------------


def _celery_settings(service: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        FILE["services"][service]["environment"]["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]
    )
    return found


def _with_a_broker() -> Iterator[str]:
    yield from (
        name
        for name, one in FILE["services"].items()
        if "AIRFLOW__CELERY__BROKER_URL_CMD" in one.get("environment", {})
    )


def test_only_the_scheduler_and_workers_have_a_login() -> None:
    """Each its own, as the same file; whoever else loads DAG code has none."""
    given = {}
    for name, service in FILE["services"].items():
        for secret in service.get("secrets", ()):
            source = secret["source"] if isinstance(secret, dict) else secret
            if source.startswith("broker"):
                assert isinstance(secret, str) or secret["target"] == "broker_url"
                given[name] = source
    expected = {f"worker-{queue}": f"broker_{queue}" for queue in QUEUES}
    assert given == {**expected, "scheduler": "broker_scheduler", "redis": "broker.acl"}
    assert set(_with_a_broker()) == {*expected, "scheduler"}
    for name in _with_a_broker():
        environment = FILE["services"][name]["environment"]
        assert environment["AIRFLOW__CELERY__BROKER_URL_CMD"] == "cat /run/secrets/broker_url"
        # Celery's other store for results, a database, keeps them as pickles, which run code where they are read.
        assert environment["AIRFLOW__CELERY__RESULT_BACKEND_CMD"] == "cat /run/secrets/broker_url"


def test_workers_take_no_orders_but_tasks() -> None:
    """No remote control, no gossip, no mingling: those are channels of all workers together."""
    for queue in QUEUES:
        service = FILE["services"][f"worker-{queue}"]
        assert {"--without-mingle", "--without-gossip", "--skip-serve-logs"} <= set(service["command"])
        assert service["environment"]["AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL"] == "False"


def test_celery_shares_nothing_between_queues() -> None:
    """No exchange, so no bindings; no list of unacknowledged messages; one list for each queue."""
    celery = pytest.importorskip("celery")
    for name in _with_a_broker():
        app = celery.Celery(broker="redis://", set_as_current=False, config_source=_celery_settings(name))
        for queue in QUEUES:
            assert app.amqp.queues[queue].exchange.name == ""
            assert app.amqp.router.route({"queue": queue}, "execute_workload")["queue"].name == queue
        options = app.conf.broker_transport_options
        assert options == {"ack_emulation": False, "priority_steps": [0]}
    assert len({json.dumps(_celery_settings(name)) for name in _with_a_broker()}) == 1


def test_a_database_of_results_would_run_code_in_the_scheduler() -> None:
    """Celery's own table keeps results as pickles, so what a worker writes there runs where it is read."""
    models = pytest.importorskip("celery.backends.database.models")
    table = models.Task
    engine = sqlalchemy.create_engine("sqlite://")
    models.ResultModelBase.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO celery_taskmeta (id, task_id, result) VALUES (1, 'of-any-task', :result)"
            ),
            {"result": pickle.dumps(Hostile())},
        )
    with Session(engine) as session:
        session.scalars(sqlalchemy.select(table).where(table.task_id.in_(["of-any-task"]))).all()
    assert Hostile.ran_in == [os.getpid()]


class Hostile:
    """A result that does something when it is read."""

    ran_in: ClassVar[list[int]] = []

    def __reduce__(self) -> Any:
        return (_runs, ())


def _runs() -> None:
    Hostile.ran_in.append(os.getpid())
