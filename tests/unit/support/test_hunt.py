"""The leak hunt can find: a canary is planted in every form and place, and looked for."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
import zstandard

from tests.e2e.hunt import CUT, Hunt, canary, number_canary

SEED = "a seed of these tests"
PATHS = ("first", "second", "third")
CORE = canary(SEED, "second")


def hunted(data: bytes, *, place: str = "log") -> Hunt:
    """A hunt that has searched some bytes."""
    hunt = Hunt(SEED, PATHS, ("number",))
    hunt.search(data, place, "a file")
    return hunt


FORMS = {
    "utf-8": CORE.encode(),
    "utf-16-le": CORE.encode("utf-16-le"),
    "utf-16-be": CORE.encode("utf-16-be"),
    "hex": CORE.encode().hex().encode(),
    "upper hex": CORE.encode().hex().upper().encode(),
    "url-quoted whole": "".join(f"%{ord(c):02x}" for c in CORE).encode(),
    "url-quoted": quote(f'ä"{CORE}\\ /').encode(),
    "json-escaped whole": "".join(f"\\u{ord(c):04x}" for c in CORE).encode(),
    "json": json.dumps({"k": f'quote" backslash\\ ä{CORE}'}).encode(),
    "repr": repr({"k": f"quote' \" backslash\\ {CORE}"}).encode(),
    "gzip": gzip.compress(b"before " + CORE.encode()),
    "zlib": zlib.compress(b"before " + CORE.encode()),
    "zlib, level 1": zlib.compress(b"before " + CORE.encode(), 1),
    "zlib, level 9": zlib.compress(b"before " + CORE.encode(), 9),
    "zstd": zstandard.compress(b"before " + CORE.encode()),
    "zstd without its end": zstandard.compress(b"x" * 500_000 + CORE.encode() * 9000)[:-8],
    "gzip in base64": base64.b64encode(gzip.compress(CORE.encode())),
    "zlib in hex": zlib.compress(CORE.encode()).hex().encode(),
    "zstd in zlib in url-safe base64": base64.urlsafe_b64encode(zlib.compress(zstandard.compress(CORE.encode()))),
    "base64 twice": base64.b64encode(b"z" + base64.b64encode(b"zz" + CORE.encode())),
    "utf-16 in gzip": gzip.compress(CORE.encode("utf-16")),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_in_every_form(form: str) -> None:
    """Whatever a canary was encoded or packed with, its path is named."""
    noise = bytes(range(256)) * 7
    assert hunted(noise + FORMS[form] + noise).places() == {"second": {"log"}}


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_every_alignment(before: int, encode: object) -> None:
    """A canary within a longer text in base64 is found wherever the groups of three bytes begin."""
    assert callable(encode)
    text = encode(b"\xfb\xff~?"[:4] * before + b"x" * before + CORE.encode() + b"?>" * before)
    assert set(hunted(b'{"a":"' + text + b'"}').places()) == {"second"}


def test_a_number_is_found_by_its_digits() -> None:
    """A canary that is a number is found where it stands as digits."""
    number = number_canary(SEED, "number")
    assert hunted(json.dumps([1, {"n": number}]).encode()).places() == {"number": {"log"}}
    assert 10**14 <= number < 10**15


def test_a_cut_canary_is_found() -> None:
    """A canary of which only the start was written is reported as cut."""
    assert hunted(CORE[:-4].encode()).places() == {CUT: {"log"}}


def test_what_holds_no_canary_gives_no_find() -> None:
    """Other canaries, the seed, masks and noise are no find."""
    other = canary("another seed", "second")
    text = f"{SEED} *** {other} {number_canary('another seed', 'number')} {'QUJD' * 50}".encode()
    hunt = hunted(text + gzip.compress(text) + text.hex().encode())
    assert hunt.finds == set()
    assert hunt.searched_bytes > len(text)


def test_canaries_of_different_paths_differ() -> None:
    """Each path has a canary of its own, the same at every call."""
    assert len({canary(SEED, path) for path in PATHS}) == len(PATHS)
    assert canary(SEED, "first") == canary(SEED, "first")
    assert canary(SEED, "first").isalnum()


def test_every_column_of_a_database_is_searched(tmp_path: Path) -> None:
    """Text, bytes and values that are spread over many pages are found, with table and column."""
    file = tmp_path / "some.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE one (a TEXT, b BLOB, c INTEGER)")
        connection.execute("CREATE TABLE two (d TEXT)")
        long_text = "x" * 4090 + CORE + "x" * 10_000
        connection.execute("INSERT INTO one VALUES (?, ?, 7)", (long_text, zlib.compress(CORE.encode())))
        connection.execute("INSERT INTO one VALUES (NULL, NULL, ?)", (number_canary(SEED, "number"),))
        connection.execute("INSERT INTO two VALUES (?)", (canary(SEED, "first"),))
    connection.close()
    hunt = Hunt(SEED, PATHS, ("number",))
    hunt.search_database(file)
    assert hunt.places() == {
        "second": {"table one.a", "table one.b"},
        "number": {"table one.c"},
        "first": {"table two.d"},
    }


def test_files_and_their_names_are_searched(tmp_path: Path) -> None:
    """A canary in a file's name is found as well as one in its content."""
    (tmp_path / CORE).mkdir()
    (tmp_path / CORE / "file.bin").write_bytes(b"\0" + canary(SEED, "third").encode())
    hunt = Hunt(SEED, PATHS)
    hunt.search_files(tmp_path, [tmp_path / CORE / "file.bin"], "store")
    assert hunt.places() == {"second": {"store (name)"}, "third": {"store"}}
