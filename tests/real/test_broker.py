"""The broker's logins of deploy/compose on a real broker: what each may do, of all the commands that it knows.

`tests/proof/broker_routes.py` is the attack. Here it is run with the login of a worker and, to show that it is
one, on a broker with one password for everybody, where the other queue's worker does run what it is sent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proof.broker_routes import REFUSED, Attack
from tests.support import deployed
from tests.support.servers.redis_server import RedisServer, redis_server

# What every login may do, also before it has logged in.
ALWAYS = {"auth", "hello", "quit", "reset"}
CONNECTS = {"ping", "client|setinfo", "multi", "exec"}
WORKER_SECONDS = 40
APP = """
import os
from celery import Celery

app = Celery(broker=os.environ["BROKER"], backend="disabled://")
app.conf.update(broker_transport_options={"unacked_restore_interval": 1, "unacked_restore_throttle": 1})

@app.task(name="hostile_task")
def hostile_task(route):
    with open(os.environ["RAN"], "a") as ran:
        print(route, file=ran)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What make-secrets makes."""
    return deployed.made_secrets(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def broker(made: Path) -> Iterator[RedisServer]:
    """A broker with the logins of the deployment."""
    with redis_server((made / "broker.acl").read_text()) as server:
        yield server


def test_a_worker_is_refused_every_way_to_the_other_queue(broker: RedisServer, made: Path) -> None:
    """Nothing that marketing's login tries gets to finance's queue, and the broker holds no key afterwards."""
    url = broker.here((made / "broker_marketing").read_text())
    tried = Attack(url, own="marketing", other="finance", task="hostile_task").run()
    guesses = {name for name in tried if name.startswith("AUTH ")}
    assert {tried[name] for name in guesses} == {"not the password"}
    assert {name: answer for name, answer in tried.items() if answer != REFUSED and name not in guesses} == {}
    assert len(tried) > 250
    assert broker.client().keys() == []


def test_each_login_may_run_the_commands_that_it_needs(broker: RedisServer) -> None:
    """Of all commands that the broker knows, with a stranger's key: these are allowed, those need another key."""
    assert {name: _allowed(broker, name, "finance") for name in ("worker-marketing", "health")} == {
        "worker-marketing": (
            ALWAYS | CONNECTS,
            {"brpop", "lpush", "llen", "get", "setex", "publish"},
        ),
        "health": (ALWAYS | {"ping"}, set()),
    }
    # The scheduler produces into a queue and cannot read it, nor write a result.
    assert _allowed(broker, "scheduler", "finance") == (
        ALWAYS | CONNECTS | {"lpush", "llen", "unsubscribe"},
        {"get", "mget", "subscribe"},
    )
    assert _allowed(broker, "scheduler", "celery-task-meta-x") == (
        ALWAYS | CONNECTS | {"get", "mget", "subscribe", "unsubscribe"},
        {"lpush", "llen"},
    )


@pytest.mark.parametrize(
    "key",
    ["finance", "marketing2", "marketin", "marketing\x06\x163", "marketing ", "Marketing", "xmarketing", "",
     "unacked", "unacked_index", "unacked_mutex", "_kombu.binding.marketing", "_kombu.binding.permanent.marketing",
     "_kombu.binding.reply.celery.pidbox", "marketing.reply.celery.pidbox", "celery-task-set-meta-x"],
)  # fmt: skip
def test_no_key_that_only_looks_like_its_own_is_a_workers(broker: RedisServer, key: str) -> None:
    """The queue's key is one name and no pattern."""
    assert _allowed(broker, "worker-marketing", key)[1] >= {"brpop", "lpush", "get", "setex", "publish"}


def test_a_worker_may_do_what_a_worker_does(broker: RedisServer) -> None:
    """So the refusals above are of keys and not of everything."""
    own, _ = _allowed(broker, "worker-marketing", "marketing")
    assert own == ALWAYS | CONNECTS | {"brpop", "lpush", "llen"}
    result, _ = _allowed(broker, "worker-marketing", "celery-task-meta-x")
    assert result == ALWAYS | CONNECTS | {"get", "setex", "publish"}


def test_nobody_gets_in_without_a_password(broker: RedisServer) -> None:
    """The login of old is off, and the one without a password can ask whether the server is there."""
    import redis

    address = broker.here("redis://nobody@redis:6379/0").replace("nobody@", "")
    with redis.Redis.from_url(address) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()
    with redis.Redis.from_url(address.replace("://", "://health:none@")) as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.llen("finance")


def test_a_worker_is_healthy_while_its_login_is(broker: RedisServer, made: Path, tmp_path: Path) -> None:
    """The compose file's health check of a worker, with its login and with a password that is not its own."""
    words = deployed.compose()["services"]["worker-finance"]["healthcheck"]["test"]
    assert words[:3] == ["CMD", "python", "-c"]
    file, url = tmp_path / "broker_url", broker.here((made / "broker_finance").read_text())
    code = words[3].replace("/run/secrets/broker_url", str(file))
    for text, healthy in ((url, True), (url.replace("worker-finance:", "worker-finance:x"), False)):
        file.write_text(text)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert (done.returncode == 0) == healthy


def test_with_one_password_for_all_the_other_worker_runs_it(tmp_path: Path) -> None:
    """The control: on a broker as it comes, the same attack has code run by a real worker of the other queue."""
    ran, output = tmp_path / "ran", tmp_path / "output"
    (tmp_path / "shared_broker.py").write_text(APP)
    with redis_server() as server:
        attack = Attack(server.url(0), own="marketing", other="finance", task="hostile_task")
        routes = {
            name: call
            for name, call in attack.routes()
            if name.startswith(
                ("celery: send ", "LPUSH on", "RPUSH on", "unacked: rest", "unacked_index", "MULTI")
            )
            and "both queues" not in name
        }
        for call in routes.values():
            call()
        words = ["-A", "shared_broker", "worker", "--queues", "finance", "--pool", "solo", "--loglevel", "INFO"]
        with output.open("wb") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", *words], cwd=tmp_path, stdout=out, stderr=out,
                env={**os.environ, "BROKER": server.url(0), "RAN": str(ran)},
            )  # fmt: skip
        try:
            expected = {name.partition(": ")[0] if " on " in name else name for name in routes}
            expected = {name for name in expected if not name.startswith("unacked_index")}
            _until(lambda: ran.exists() and expected == set(ran.read_text().splitlines()), ran, output)
        finally:
            worker.terminate()
            worker.wait(20)


def _until(holds: Any, ran: Path, output: Path) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            told = ran.read_text() if ran.exists() else ""
            pytest.fail(f"not in time; ran:\n{told}\n{output.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def _allowed(broker: RedisServer, login: str, key: str) -> tuple[set[str], set[str]]:
    """Ask the broker about each of its commands: those that it would run, and those but for the key or channel."""
    client, runs, not_there = broker.client(), set(), set()
    for name, arity in _commands(client.execute_command("COMMAND")):
        words = name.split("|")
        words += [key] * max(abs(arity) - len(words), 1 if "subscribe" in name else 0)
        answer = client.execute_command("ACL", "DRYRUN", login, *words)
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        if text in ("OK", "True"):
            runs.add(name)
        elif text.endswith(("key", "channel")):
            not_there.add(name)
        else:
            assert text.endswith("command"), (name, text)
    return runs, not_there


def _commands(told: Any) -> Iterator[tuple[str, int]]:
    """Each command of the server's own table with its arity; of one with subcommands, those."""
    for entry in told.values() if isinstance(told, dict) else told:
        name, arity, below = _entry(entry)
        if below:
            yield from _commands(below)
        else:
            yield name, arity


def _entry(entry: Any) -> tuple[str, int, Any]:
    if isinstance(entry, dict):
        return str(entry["name"]), int(entry["arity"]), entry.get("subcommands")
    name = entry[0].decode() if isinstance(entry[0], bytes) else str(entry[0])
    return name, int(entry[1]), entry[9] if len(entry) > 9 else None
