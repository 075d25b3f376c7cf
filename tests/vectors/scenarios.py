"""The scenarios in which something opens, and those of wraps and paths."""

from __future__ import annotations

import base64

from tests.support import second_reader
from tests.vectors.build import (
    CREATED,
    DATA_KEY,
    KEY_URI,
    VALUE,
    Edit,
    Vector,
    b64,
    both,
    encode,
    error,
    flip,
    lies,
    older_keyring,
    pulled,
    salt,
    sealed,
    set_row,
    value,
    wrapped,
    zstd_frame,
)


def _first_key_cannot_open(vector: Vector) -> None:
    other = "local:///vectors/other.json"
    vector["compartment"]["key_uris"] = [other, KEY_URI]
    lost = {"created": CREATED, "key": b64(b"\x2f" * 32)}
    vector["keyrings"][other] = {"secure_xcom_keyring": 1, "versions": {"9": lost}, "latest": 9}
    vector["row"]["keys"].insert(0, {"uri": other, "wrapped": vector["row"]["keys"][0]["wrapped"]})


def seals() -> dict[str, Vector]:
    """Sealed payloads around the chunks' ends, and a head with unusual characters."""
    head = {"key": "return_value", "dag_id": "invoices"}
    unusual = {
        "b": 'quote " backslash \\ control \x01\n',
        "a": "größe \u2028 \U0001f600",
        "\ufb33": "2",
        "\U0001f600": "1",
    }
    names = {0: "empty", 1: "one-byte", 16_383: "under-a-chunk", 16_384: "a-chunk", 16_385: "over-a-chunk"}
    made = {
        f"seal-{name}": sealed(f"A sealed payload of {size} bytes opens.", head, b"\x5a" * size)
        for size, name in names.items()
    }
    made["seal-canonical-head"] = sealed(
        "The head is canonical JSON: names sorted by UTF-16 code units, shortest escapes, nothing normalised.",
        unusual,
        b"plaintext",
    )
    return made


def wraps() -> dict[str, Vector]:
    """Local wraps, opened and refused."""

    def relabel(old: str, new: str) -> Edit:
        return lambda vector: vector.update(wrapped=vector["wrapped"].replace(old, new, 1))

    def move(name: str, text: str) -> Edit:
        return lambda vector: vector["context"].update({name: text})

    refused = error("UnwrapRefused")
    made = {
        "wrap-opens": wrapped("A wrap opens in its own context.", {"data_key": DATA_KEY.hex()}),
        "wrap-version-unknown": wrapped(
            "A wrap of a version that the keyring does not have is refused by that.",
            error("KeyVersionUnknown"),
            edit=lambda vector: vector.update(keyring=older_keyring()),
        ),
        "wrap-version-exchanged": wrapped(
            "A wrap does not open under another version's name.", refused, edit=relabel("local:v2", "local:v1")
        ),
        "wrap-version-not-canonical": wrapped(
            "A version with a leading zero is no version.", refused, edit=relabel("local:v2", "local:v02")
        ),
        "wrap-other-service": wrapped("A wrap names its service.", refused, edit=relabel("local:", "vault:")),
        "wrap-padding-missing": wrapped("Base64 is padded.", refused, edit=relabel("=", "")),
        "wrap-cut": wrapped(
            "A wrap that was cut short is refused.",
            refused,
            edit=lambda vector: vector.update(wrapped=vector["wrapped"][:-8]),
        ),
        "wrap-byte-changed": wrapped(
            "A wrap with one changed bit is refused.",
            refused,
            edit=lambda vector: vector.update(
                wrapped="local:v2:" + b64(flip(60)(base64.b64decode(vector["wrapped"][9:])))
            ),
        ),
        "wrap-without-prefix": wrapped(
            "A message under the wrapping key whose context lacks the prefix is no wrap.",
            refused,
            edit=lambda vector: vector.update(
                wrapped="local:v2:"
                + b64(
                    second_reader.seal(
                        b"\x22" * 32, second_reader.canonical(vector["context"]), DATA_KEY, salt("no prefix")
                    )
                )
            ),
        ),
    }
    for name, text in (
        ("compartment", "other"),
        ("dag_id", "other"),
        ("task_id", "other"),
        ("run_id", "other"),
        ("map_index", "0"),
    ):
        made[f"wrap-other-{name.replace('_', '-')}"] = wrapped(
            f"A wrap does not open for another {name}.", refused, edit=move(name, text)
        )
    return made


def paths() -> dict[str, Vector]:
    """Folders of coordinates."""
    return {
        "path-plain": lies(
            "Ids of letters, digits, dots, dashes and underscores stand as they are.", run_id="run_1.a-b"
        ),
        "path-escaped": lies("Everything else is percent-encoded as UTF-8.", dag_id="a/b c", task_id="größe~%2F"),
        "path-dots": lies("Ids of dots only are encoded whole.", dag_id=".", run_id="..", task_id="..."),
        "path-mapped": lies("A mapped task instance has its index.", map_index="7"),
        "path-200": lies("A segment of 200 bytes stands whole.", dag_id="d" * 200),
        "path-201": lies("A longer one is cut to 150 bytes and ends in a hash.", dag_id="d" * 201),
        "path-cut-escape": lies(
            "No escape is cut in two.", dag_id="d" * 148 + "ü" * 20, task_id="d" * 149 + "ü" * 20
        ),
    }


def opened() -> dict[str, Vector]:
    """Pulls that give a value."""
    exotic = {"dag_id": "größe/dag", "run_id": 'run "1"\n', "task_id": "..", "key": "\U0001f600 key"}
    return {
        "pull-object": pulled("A value whose payload is an object.", value()),
        "pull-inline": pulled("A value whose payload is in the reference.", value(), inline=True),
        "pull-mapped": pulled("A value of a mapped task instance.", value(), head={"map_index": "12"}),
        "pull-unusual-ids": pulled("Ids with slashes, quotes, newlines, dots and emoji.", value(), head=exotic),
        "pull-null": pulled("The value null.", value(None), plain=b"null"),
        "pull-bytes": pulled(
            "The codec bytes gives the bytes themselves.",
            {"bytes": b64(b"\x00\xff")},
            plain=b"\x00\xff",
            head={"codec": "bytes"},
        ),
        "pull-no-bytes": pulled("No bytes at all.", {"bytes": ""}, plain=b"", head={"codec": "bytes"}),
        "pull-three-chunks": pulled(
            "A value of three chunks.", value("x" * 40_000), plain=b'"' + b"x" * 40_000 + b'"'
        ),
        "pull-zstd": pulled(
            "A zstd frame that another writer made.",
            value("a" * 300),
            plain=zstd_frame("a", 300),
            head={"compression": "zstd"},
        ),
        "pull-search-mark": pulled(
            "JSON with a search mark behind it, of other names than the reader's.",
            value(),
            plain=encode(VALUE) + b" \t\n\r" * 8,
        ),
        "pull-not-expired": pulled(
            "A value that expires later.", value(), head={"expires": "9999-01-01T00:00:00Z"}
        ),
        "pull-preview-ignored": pulled(
            "The preview is never read back, whatever stands in it.",
            value(),
            edit=set_row("preview", to={"user": "somebody else", "secure_xcom": 7}),
        ),
        "pull-followed": pulled(
            "The XCom of a branching task: what it followed stands beside the sealed value, for the scheduler.",
            value({"followed": ["load", "größe"]}),
            plain=encode({"followed": ["load", "größe"]}),
            head={"key": "skipmixin_key"},
            edit=set_row("followed", to=["load", "größe"]),
        ),
        "pull-skipped": pulled(
            "The XCom of a task that skips others, with the payload inline.",
            value({"skipped": ["load", "report"]}),
            plain=encode({"skipped": ["load", "report"]}),
            head={"key": "skipmixin_key"},
            inline=True,
            edit=set_row("skipped", to=["load", "report"]),
        ),
        "pull-followed-none": pulled(
            "A branching task that followed nothing.",
            value({"followed": []}),
            plain=encode({"followed": []}),
            head={"key": "skipmixin_key"},
            edit=set_row("followed", to=[]),
        ),
        "pull-followed-not-read-back": pulled(
            "What the scheduler reads is not authenticated, and a pull gives what was sealed, whatever it says.",
            value({"skipped": ["load"]}),
            plain=encode({"skipped": ["load"]}),
            head={"key": "skipmixin_key"},
            edit=both(set_row("followed", to=["another"]), set_row("skipped", to=["x" * 250])),
        ),
        "pull-second-key": pulled("Any one of several keys opens.", value(), edit=_first_key_cannot_open),
    }
