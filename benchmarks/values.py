"""Values as tasks push them, by kind and size, the same each time.

    from benchmarks.values import KINDS, value_of

    value_of("API records", 10_000)     # about so many bytes of JSON

Each kind is a function of a source of chance that yields parts; a value holds as many of them as its size asks
for.
Nothing here imports secure_xcom or Airflow, so the values can be pushed through any backend.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

Draw = random.Random
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
# Words that are split, because lists of them would take many lines.
FIRST = "Ada Ben Carla Dmitri Esther Femi Grace Hiro Ines Jonas Kavya Liam Mei Nadia Omar Priya".split()  # noqa: SIM905
LAST = "Abbott Bauer Chen Diaz Eriksen Fontaine Gupta Haddad Ito Jensen Kowalski Larsen Moreau".split()  # noqa: SIM905
WORDS = """
    the order was shipped from our second warehouse after review and customer asked for an invoice with new address
    because delivery on monday failed please check account balance before next payment is due records now show that
    team has moved all open tickets into backlog while nightly import ran longer than usual due to large table scan
""".split()  # noqa: SIM905  # as a list it would be a page
HOSTS = ("api.example.com", "cdn.example.net", "shop.example.org", "internal.example.com:8443")
SCRIPTS = (
    "Zürich, Österreich",
    "東京都渋谷区",
    "Санкт-Петербург",
    "القاهرة",
    "São Paulo — Brasil",
    "🚀📦✅",
    "Ἀθῆναι",
)


def _moment(draw: Draw) -> datetime:
    return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=draw.randrange(31_536_000))


def _sentence(draw: Draw, least: int = 6, most: int = 18) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(least, most))).capitalize() + "."


def _hex(draw: Draw, characters: int) -> str:
    return f"{draw.getrandbits(4 * characters):0{characters}x}"


def _flat(draw: Draw) -> Iterator[Any]:
    number = 0
    while True:
        yield {"id": number, "name": "".join(draw.choices(LETTERS, k=60)), "amount": draw.random()}
        number += 1


def _api_records(draw: Draw) -> Iterator[Any]:
    number = 1000
    while True:
        first, last = draw.choice(FIRST), draw.choice(LAST)
        created = _moment(draw)
        yield {
            "id": number,
            "uuid": f"{_hex(draw, 8)}-{_hex(draw, 4)}-4{_hex(draw, 3)}-a{_hex(draw, 3)}-{_hex(draw, 12)}",
            "owner": {
                "id": draw.randrange(10_000),
                "name": f"{first} {last}",
                "email": f"{first}.{last}@example.com".lower(),
                "team": {"id": draw.randrange(40), "name": draw.choice(WORDS)},
            },
            "tags": draw.sample(WORDS, k=draw.randint(0, 4)),
            "created_at": created.isoformat(),
            "updated_at": (created + timedelta(hours=draw.randrange(900))).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "amount": round(draw.uniform(1, 5000), 2),
            "currency": draw.choice(("EUR", "USD", "JPY")),
            "active": draw.random() < 0.8,
            "discount": None if draw.random() < 0.7 else draw.randrange(50),
            "note": f"Note: {_sentence(draw)}" if draw.random() < 0.3 else _sentence(draw),
        }
        number += 1


def _log_lines(draw: Draw) -> Iterator[Any]:
    while True:
        moment = _moment(draw).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
        level = draw.choice(("INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR"))
        told = draw.choice(
            (
                f"processed batch={draw.randrange(999)} rows={draw.randrange(99_999)} took={draw.random():.3f}s",
                f'GET /v1/orders/{draw.randrange(99_999)}?page={draw.randrange(9)} HTTP/1.1" 200',
                f"connection to {draw.choice(HOSTS)} closed: timeout after {draw.randrange(60)}s",
                f"retrying request {_hex(draw, 16)} attempt: {draw.randrange(5)} of 5",
                f"model answered: total_tokens={draw.randrange(9999)}, finish_reason=stop",
                _sentence(draw),
            )
        )
        yield f"[{moment}] {{worker.py:{draw.randrange(900)}}} {level} - {told}"


def _sql_rows(draw: Draw) -> Iterator[Any]:
    number = 1
    while True:
        moment = _moment(draw)
        yield [
            number,
            f"{draw.choice(FIRST)} {draw.choice(LAST)}",
            moment.strftime("%Y-%m-%d %H:%M:%S"),
            f"{draw.uniform(0, 9999):.2f}",
            draw.choice(("open", "paid", "returned", None)),
            draw.random() < 0.5,
            moment.date().isoformat(),
        ]
        number += 1


def _urls_and_headers(draw: Draw) -> Iterator[Any]:
    while True:
        host = draw.choice(HOSTS)
        yield {
            "method": draw.choice(("GET", "POST", "PUT")),
            "url": f"https://{host}/v2/items/{draw.randrange(99_999)}?page={draw.randrange(40)}&limit=100&sort=-created",
            "status": draw.choice((200, 200, 201, 304, 404, 500)),
            "headers": [
                ["Content-Type", "application/json; charset=utf-8"],
                ["Date", _moment(draw).strftime("%a, %d %b %Y %H:%M:%S GMT")],
                ["ETag", f'W/"{_hex(draw, 24)}"'],
                ["Cache-Control", "max-age=3600, public"],
                ["Link", f'<https://{host}/v2/items?page={draw.randrange(40)}>; rel="next"'],
            ],
            "referer": f"s3://bucket-{draw.randrange(9)}/exports/date={_moment(draw).date()}/part-{draw.randrange(99):05}",
        }


def _json_in_text(draw: Draw) -> Iterator[Any]:
    records = _api_records(draw)
    while True:
        record = next(records)
        yield {"offset": record["id"], "topic": "orders", "payload": json.dumps(record)}


def _prose(draw: Draw) -> Iterator[Any]:
    while True:
        told = " ".join(_sentence(draw) for _ in range(8))
        # Text about secrets holds none.
        more = " Nobody will ask for your password or token." if draw.random() < 0.1 else ""
        yield f"{told}{more} Summary: {_sentence(draw)}"


def _unicode(draw: Draw) -> Iterator[Any]:
    while True:
        yield {
            "ort": draw.choice(SCRIPTS),
            "titel": f"{draw.choice(SCRIPTS)}: {draw.choice(SCRIPTS)}",
            "größe": draw.random(),
            "zeit": _moment(draw).isoformat(),
            "名前": draw.choice(SCRIPTS) * draw.randint(1, 3),
        }


def _wide(draw: Draw) -> Iterator[Any]:
    number = 0
    while True:
        yield (
            f"{draw.choice(WORDS)}_{draw.choice(WORDS)}_{number}",
            draw.choice(
                (
                    draw.randrange(10**6),
                    _moment(draw).isoformat(),
                    f"{draw.choice(WORDS)}={draw.randrange(99)}",
                    None,
                )
            ),
        )
        number += 1


def _deep(draw: Draw) -> Iterator[Any]:
    while True:
        node: Any = {"at": _moment(draw).isoformat(), "value_of": draw.random()}
        for depth in range(12):
            node = {"level": depth, "kind": draw.choice(WORDS), "children": [node, f"ref:{_hex(draw, 8)}"]}
        yield node


def _few_secrets(draw: Draw) -> Iterator[Any]:
    records = _api_records(draw)
    login = f"postgres://etl:{_hex(draw, 12)}@db.example.com/x"
    yield {**next(records), "api_token": _hex(draw, 32), "login": login}
    yield from records


def _many_secrets(draw: Draw) -> Iterator[Any]:
    for record in _api_records(draw):
        secrets = {"password": _hex(draw, 20), "dsn": f"user={draw.choice(FIRST)}"}
        yield {**record, **secrets, "next_page_token": _hex(draw, 8)}


KINDS: dict[str, Callable[[Draw], Iterator[Any]]] = {
    "flat": _flat,
    "API records": _api_records,
    "log lines": _log_lines,
    "SQL rows": _sql_rows,
    "URLs and headers": _urls_and_headers,
    "JSON in text": _json_in_text,
    "prose": _prose,
    "Unicode": _unicode,
    "wide": _wide,
    "deep": _deep,
    "few secrets": _few_secrets,
    "many secrets": _many_secrets,
}
"""Name of a kind => the function that yields its parts."""


def value_of(kind: str, size: int) -> Any:
    """Return a value of one of `KINDS`, of about so many bytes of JSON, and of one part at least."""
    parts, left = [], size
    for part in KINDS[kind](random.Random(f"{kind} {size}")):
        parts.append(part)
        left -= len(json.dumps(part, ensure_ascii=False).encode()) + 2
        if left <= 0:
            break
    if kind == "wide":
        return dict(parts)
    return "\n".join(parts) if kind == "prose" else {"rows": parts} if kind == "flat" else parts
