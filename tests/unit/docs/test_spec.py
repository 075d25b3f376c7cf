"""format.md says what the code does: its tables, limits, names and its example are held against it."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from secure_xcom import errors
from secure_xcom.core import reference
from secure_xcom.core.coordinate import ID_MAX_CHARACTERS, KEY_MAX_CHARACTERS
from secure_xcom.core.errors import ReferenceMalformed
from secure_xcom.keys import WRAPPED_MAX_CHARACTERS
from secure_xcom.keys.keyring_file import FILE_MAX_BYTES
from secure_xcom.keys.local import CONTEXT_PREFIX
from secure_xcom.stores.paths import PATH_MAX_BYTES
from tests.support import second_reader

ROOT = Path(__file__).parents[3]
SPEC = (ROOT / "docs" / "reference" / "format.md").read_text(encoding="utf-8")
EXAMPLE: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", SPEC, re.DOTALL)[-1])


def chapter(title: str) -> str:
    """The text of one chapter."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", SPEC, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def table(title: str) -> list[list[str]]:
    """The cells of the first table of a chapter, without its head."""
    found = re.search(r"(?:^\|.*\|\n)+", chapter(title), re.MULTILINE)
    assert found, title
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[0].splitlines()[2:]]


def parses(record: dict[str, Any]) -> bool:
    """Whether the product reads a record."""
    try:
        reference.parse(record)
    except ReferenceMalformed:
        return False
    return True


def changed(*path: str | int, to: object) -> dict[str, Any]:
    """The example with another value at a path."""
    record: Any = copy.deepcopy(EXAMPLE)
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return dict(record)


def test_the_example_opens() -> None:
    """The row in the page is the vector's, the product reads it, and the second reader opens it."""
    vector = json.loads((ROOT / "tests" / "vectors" / "pull-inline.json").read_text())
    assert vector["row"] == EXAMPLE
    assert parses(EXAMPLE)
    plain = second_reader.open_reference(EXAMPLE, vector["keyrings"], lambda uri: b"")
    assert json.loads(plain) == vector["expect"]["value"]


def test_the_head_table_is_the_head() -> None:
    """The page lists the head's fields in the code's order, and says of each whether it is required."""
    fields = dataclasses.fields(reference.Head)
    required = [field.default is dataclasses.MISSING for field in fields]
    rows = table("The head")
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields]
    assert [row[1] == "yes" for row in rows] == required


def test_the_reference_table_is_the_reference() -> None:
    """A field that the page calls required cannot be left out, and one that it does not list cannot be added."""
    listed = {row[0].strip("`"): row[2] for row in table("The reference")}
    assert set(listed) == {
        *("secure_xcom", "head", "keys", "keys[].uri", "keys[].wrapped", "seal", "seal.header", "seal.size"),
        *("payload", "preview", "followed", "skipped", "shredded"),
    }
    for name, required in listed.items():
        if name in EXAMPLE and name != "secure_xcom":
            record = {key: value for key, value in EXAMPLE.items() if key != name}
            assert parses(record) is (required == "no")
    assert parses({**EXAMPLE, "preview": {"user": "str(7)"}})
    assert not parses({**EXAMPLE, "note": "x"})
    branching = {**EXAMPLE, "head": {**EXAMPLE["head"], "key": "skipmixin_key"}, "followed": ["a"]}
    assert parses(branching)
    assert not parses({**EXAMPLE, "followed": ["a"]})
    shredded = {**EXAMPLE, "keys": [], "shredded": "2026-11-22T10:00:00Z"}
    shredded.pop("payload")
    shredded["head"] = {**EXAMPLE["head"], "object": "file:///a", "exclusive": "store"}
    assert parses(shredded)
    assert not parses({**shredded, "head": {**shredded["head"], "exclusive": None}})
    assert not parses({**shredded, "payload": EXAMPLE["payload"]})


def test_every_error_is_one_of_ours() -> None:
    """Every result class that the page names is in the error tree."""
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", SPEC))
    assert len(named) > 15
    for name in named:
        assert issubclass(getattr(errors, name), errors.SecureXComError)


@pytest.mark.parametrize(
    ("text", "path", "limit"),
    [
        ("any other field of the head", ("head", "compartment"), 4096),
        ("`keys[].uri`", ("keys", 0, "uri"), 512),
        ("`keys[].wrapped`", ("keys", 0, "wrapped"), WRAPPED_MAX_CHARACTERS),
        ("`dag_id`, `run_id`, `task_id`", ("head", "run_id"), ID_MAX_CHARACTERS),
        ("`key`", ("head", "key"), KEY_MAX_CHARACTERS),
        ("`codec`, `compression`", ("head", "codec"), 63),
    ],
)
def test_a_limit_is_where_the_page_says(text: str, path: tuple[str | int, ...], limit: int) -> None:
    """A text of just the limit's length is read, and one of a character more is not."""
    said = {row[0]: row[1] for row in table("Limits")}[text]
    assert re.match(r"[\d,]+", said)[0].replace(",", "") == str(limit)  # type: ignore[index]  # a number leads
    assert parses(changed(*path, to="a" * limit))
    assert not parses(changed(*path, to="a" * (limit + 1)))


def test_the_other_limits() -> None:
    """Counts, sizes and the wrap's prefix are the page's."""
    said = {row[0]: row[1] for row in table("Limits")}
    key = EXAMPLE["keys"][0]
    assert said["`keys`"].startswith("8 ")
    assert parses(changed("keys", to=[key] * 8))
    assert not parses(changed("keys", to=[key] * 9))
    assert parses(changed("head", "map_index", to="9999999999"))
    assert not parses(changed("head", "map_index", to="10000000000"))
    # 93,333 is no multiple of four, so the longest that is read is the multiple below it.
    assert said["`payload`"].startswith("93,333 ")
    assert parses(changed("payload", to="A" * 93_332))
    assert not parses(changed("payload", to="A" * 93_336))
    branching = changed("head", "key", to="skipmixin_key")
    assert said["`followed`, `skipped`"].startswith("65,536 ids of 1 to 250 ")
    assert parses({**branching, "skipped": ["a" * 250] * 65_536})
    assert not parses({**branching, "skipped": ["a"] * 65_537})
    assert parses(changed("seal", "size", to=72))
    assert not parses(changed("seal", "size", to=71))
    assert said["an object's path"].startswith(f"{PATH_MAX_BYTES:,} ")
    assert said["a reference without `payload`, with ids of usual length"].startswith(
        f"{reference.TARGET_BYTES:,} "
    )
    assert said["keyring file"] == f"{FILE_MAX_BYTES >> 20} MiB"
    assert CONTEXT_PREFIX == b"secure_xcom/local-wrap/1\x00" == second_reader.WRAP_PREFIX
    assert '"secure_xcom/local-wrap/1" || 0x00' in chapter("The local wrap")


def test_links_lead_somewhere() -> None:
    """Every link to a chapter of the page, and every named source, is there."""
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", SPEC, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", SPEC)) <= titles
    sources = {name.replace("\n", " ") for name in re.findall(r"\[([^\]]+)\]\[\]", SPEC)}
    assert sources
    for name in sources:
        assert f"[{name}]: https://" in SPEC, name
