"""The scenarios in which a pull is refused: which error each kind of change must end in."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.support import second_reader
from tests.vectors.build import (
    CREATED,
    DATA_KEY,
    KEY_URI,
    KEYRING,
    STORE_URI,
    UNIQUE,
    Edit,
    Vector,
    b64,
    both,
    change_object,
    drop_row,
    encode,
    error,
    flip,
    older_keyring,
    pulled,
    salt,
    set_head,
    set_row,
    zstd_frame,
)

THREE_CHUNKS = b'"' + b"x" * 40_000 + b'"'
STEP = 16_384 + 16


def _two_chunks_exchanged(raw: bytes) -> bytes:
    return raw[:56] + raw[56 + STEP : 56 + 2 * STEP] + raw[56 : 56 + STEP] + raw[56 + 2 * STEP :]


def _first_chunk_twice(raw: bytes) -> bytes:
    return raw[:56] + raw[56 : 56 + STEP] * 2 + raw[56 + 2 * STEP :]


def _set_unused_bits(text: str) -> str:
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + digits[digits.index(text[-2]) + 1] + "="


def _another_message(raw: bytes) -> bytes:
    return second_reader.seal(DATA_KEY, b"another head", encode("another value"), salt("another message"))


def _foreign_wrap(vector: Vector) -> None:
    context = {**second_reader.encryption_context(vector["row"]["head"]), "task_id": "other"}
    vector["row"]["keys"][0]["wrapped"] = second_reader.wrap(KEYRING, DATA_KEY, context, salt("another wrap"))


def _replace_row(row: object) -> Edit:
    def edit(vector: Vector) -> None:
        vector["row"] = row

    return edit


def _no_objects(vector: Vector) -> None:
    vector["objects"] = {}


def references() -> dict[str, Vector]:
    """Records that are refused by their form."""
    malformed = error("ReferenceMalformed")
    unknown = error("ReferenceVersionUnknown")
    refused = {
        "plaintext": (
            "A value without a reference.",
            error("PlaintextRefused"),
            _replace_row({"user": "someone"}),
        ),
        "version-2": ("A later version.", unknown, set_row("secure_xcom", to=2)),
        "version-text": ("A version that is no number.", malformed, set_row("secure_xcom", to="1")),
        "version-true": ("A version that is no number but true.", malformed, set_row("secure_xcom", to=True)),
        "head-missing": ("No head.", malformed, drop_row("head")),
        "head-field-missing": ("A head without its compartment.", malformed, drop_row("head", "compartment")),
        "head-field-unknown": ("A head with a field more.", malformed, set_row("head", "note", to="x")),
        "head-field-number": ("A head with a number.", malformed, set_row("head", "map_index", to=-1)),
        "head-field-empty": ("A head with an empty id.", malformed, set_row("head", "task_id", to="")),
        "head-index-not-canonical": ("A map_index of 00.", malformed, set_row("head", "map_index", to="00")),
        "head-time-not-canonical": (
            "A time with an offset.",
            malformed,
            set_row("head", "created", to=CREATED[:-1] + "+00:00"),
        ),
        "head-time-of-no-day": (
            "A time on a day that there is not.",
            malformed,
            set_row("head", "created", to="2026-02-30T00:00:00Z"),
        ),
        "head-id-too-long": ("A dag_id of 251 characters.", malformed, set_row("head", "dag_id", to="d" * 251)),
        "head-id-surrogate": ("An id with a lone surrogate.", malformed, set_row("head", "task_id", to="\ud800")),
        "field-unknown": ("A record with a field more.", malformed, set_row("note", to="x")),
        "keys-empty": ("No keys.", malformed, set_row("keys", to=[])),
        "keys-nine": ("Nine keys.", malformed, set_row("keys", to=[{"uri": KEY_URI, "wrapped": "x"}] * 9)),
        "key-field-unknown": ("A key with a field more.", malformed, set_row("keys", 0, "note", to="x")),
        "seal-missing": ("No seal.", malformed, drop_row("seal")),
        "seal-header-short": ("A header of 55 bytes.", malformed, set_row("seal", "header", to=b64(b"\x01" * 55))),
        "seal-size-small": ("A size that no sealed payload has.", malformed, set_row("seal", "size", to=71)),
        "seal-size-large": (
            "A size that no sealed payload can have.",
            malformed,
            set_row("seal", "size", to=1 << 53),
        ),
        "seal-size-float": ("A size that is no whole number.", malformed, set_row("seal", "size", to=200.0)),
        "payload-and-object": (
            "A payload inline and an object.",
            malformed,
            set_row("payload", to=b64(b"\x01" * 72)),
        ),
        "neither-payload-nor-object": ("Neither payload nor object.", malformed, drop_row("head", "object")),
    }
    made = {f"refused-{name}": pulled(title, expect, edit=edit) for name, (title, expect, edit) in refused.items()}
    for name, title, key, ids in (
        ("followed-elsewhere", "What a branch followed, in the XCom of another key.", "return_value", ["load"]),
        ("followed-text", "What a branch followed, as a text.", "skipmixin_key", "load"),
        ("followed-number", "What a branch followed, with a number.", "skipmixin_key", ["load", 1]),
        ("followed-empty-id", "What a branch followed, with an empty id.", "skipmixin_key", ["load", ""]),
        (
            "followed-long-id",
            "What a branch followed, with an id of 251 characters.",
            "skipmixin_key",
            ["x" * 251],
        ),
    ):
        made[f"refused-{name}"] = pulled(title, malformed, head={"key": key}, edit=set_row("followed", to=ids))
    made["refused-payload-not-canonical"] = pulled(
        "An inline payload in base64 with a newline.",
        malformed,
        inline=True,
        edit=lambda vector: vector["row"].update(payload=vector["row"]["payload"] + "\n"),
    )
    made["refused-header-not-canonical"] = pulled(
        "A header in base64 whose unused bits are set, so that it decodes to the same bytes.",
        malformed,
        edit=lambda vector: vector["row"]["seal"].update(header=_set_unused_bits(vector["row"]["seal"]["header"])),
    )
    for name in ("readers", "exclusive"):
        made[f"refused-restriction-{name}"] = pulled(
            f"A head whose restriction {name} this version of the format cannot enforce.",
            unknown,
            head={name: "x"},
        )
    return made


def heads() -> dict[str, Vector]:
    """Heads that were edited, or belong elsewhere."""
    made = {}
    others = {"dag_id": "other", "run_id": "other", "task_id": "other", "map_index": "3", "key": "other"}
    for name, text in others.items():
        label = name.replace("_", "-")
        made[f"refused-asked-other-{label}"] = pulled(
            f"A reference that was copied from another {name}.",
            error("CoordinateMismatch"),
            # mypy: defaults
            edit=lambda vector, name=name, text=text: vector["asked"].update(  # type: ignore[misc]
                {name: int(text) if name == "map_index" else text}
            ),
        )
        # With an object the path says no first; inline, the wrap does, or for the key alone, the seal.
        made[f"refused-head-{label}-edited"] = pulled(
            f"A head whose {name} was edited to where the reference was copied to.",
            error("HeadTampered" if name == "key" else "ContextRefused"),
            edit=set_head(name, text, asked=True),
        )
        made[f"refused-head-{label}-edited-inline"] = pulled(
            f"The same with the payload inline: a head whose {name} was edited.",
            error("HeadTampered" if name == "key" else "UnwrapRefused"),
            inline=True,
            edit=set_head(name, text, asked=True),
        )
    for name, text in (
        ("codec", "bytes"),
        ("compression", "zstd"),
        ("created", "2026-11-22T10:00:01Z"),
        ("expires", "9999-01-01T00:00:00Z"),
    ):
        made[f"refused-head-{name}-edited"] = pulled(
            f"A head whose {name} was edited or added.", error("HeadTampered"), edit=set_head(name, text)
        )
    expires = "2001-01-01T00:00:00Z"
    made["refused-head-expires-dropped"] = pulled(
        "A head whose expires was taken away.",
        error("HeadTampered"),
        edit=drop_row("head", "expires"),
        head={"expires": expires},
    )
    made["refused-expired"] = pulled(
        "A value that has expired.", error("ReferenceExpired"), head={"expires": expires}
    )
    made["refused-head-compartment-edited"] = pulled(
        "A head that names another compartment.",
        error("CompartmentUnknown"),
        edit=set_head("compartment", "other"),
    )
    for name, uri in (
        ("store", f"file:///elsewhere/default/invoices/run/extract/-1/{UNIQUE}"),
        ("parent", f"{STORE_URI}/default/invoices/../{UNIQUE}"),
        ("folder", f"{STORE_URI}/default/other/run/extract/-1/{UNIQUE}"),
    ):
        made[f"refused-object-other-{name}"] = pulled(
            f"A head whose object lies in another {name}.", error("ContextRefused"), edit=set_head("object", uri)
        )
    return made


def payloads() -> dict[str, Vector]:
    """Payloads that were changed, or cannot be read."""
    tampered, truncated = error("PayloadTampered"), error("PayloadTruncated")
    changes: dict[str, tuple[str, Vector, Callable[[bytes], bytes]]] = {
        "salt-changed": ("An object with another salt.", error("PayloadSwapped"), flip(0)),
        "commitment-changed": ("An object with another commitment.", error("PayloadSwapped"), flip(24)),
        "first-byte-changed": ("A changed byte of the ciphertext.", tampered, flip(56)),
        "last-byte-changed": ("A changed byte in the last tag.", tampered, flip(-1)),
        "middle-byte-changed": ("A changed byte in the second chunk.", tampered, flip(56 + STEP + 9)),
        "chunks-exchanged": ("Two chunks changed places.", tampered, _two_chunks_exchanged),
        "chunk-twice": ("The first chunk in place of the second.", tampered, _first_chunk_twice),
        "cut-in-a-chunk": ("Cut short by a byte.", truncated, lambda raw: raw[:-1]),
        "cut-at-a-chunk": ("Cut short at a chunk's end.", truncated, lambda raw: raw[: 56 + 2 * STEP]),
        "cut-at-the-header": ("Cut short after the header.", truncated, lambda raw: raw[:56]),
        "cut-in-the-header": ("Cut short within the header.", truncated, lambda raw: raw[:55]),
        "emptied": ("An empty object.", truncated, lambda raw: b""),
        "extended": ("Made longer by a byte.", truncated, lambda raw: raw + b"\x00"),
        "extended-by-a-chunk": (
            "Made longer by a copy of a chunk.",
            truncated,
            lambda raw: raw + raw[56 : 56 + STEP],
        ),
        "another": ("Another sealed payload in the object's place.", error("PayloadSwapped"), _another_message),
    }
    made = {
        f"refused-payload-{name}": pulled(
            title, expect, plain=THREE_CHUNKS if "chunk" in title else None, edit=change_object(change)
        )
        for name, (title, expect, change) in changes.items()
    }
    for position, name in ((0, "salt"), (24, "commitment")):

        def in_both(vector: Vector, position: int = position) -> None:
            change_object(flip(position))(vector)
            header = base64.b64decode(vector["row"]["seal"]["header"])
            vector["row"]["seal"]["header"] = b64(flip(position)(header))

        made[f"refused-payload-{name}-changed-in-both"] = pulled(
            f"Another {name} in the object and in the reference.", error("HeadTampered"), edit=in_both
        )
    made["refused-payload-another-in-both"] = pulled(
        "Another message under the same data key, with its header in the reference.",
        error("HeadTampered"),
        edit=both(
            change_object(_another_message),
            lambda vector: vector["row"]["seal"].update(
                header=b64(_another_message(b"")[:56]), size=len(_another_message(b""))
            ),
        ),
    )
    made["refused-size-edited"] = pulled(
        "A reference that says another size.",
        truncated,
        edit=lambda vector: vector["row"]["seal"].update(size=vector["row"]["seal"]["size"] + 1),
    )
    made["refused-payload-missing"] = pulled("No object.", error("ObjectMissing"), edit=_no_objects)
    made["refused-too-large"] = pulled("A payload over the reader's limit.", error("ValueTooLarge"), max_bytes=20)
    made["refused-zstd-too-large"] = pulled(
        "A frame that says it is larger than the reader's limit.",
        error("ValueTooLarge"),
        plain=zstd_frame("a", 300, says=1 << 31),
        head={"compression": "zstd"},
    )
    made["refused-zstd-lies"] = pulled(
        "A frame that is larger than it says.",
        error("ValueNotDecodable"),
        plain=zstd_frame("a", 300, says=4),
        head={"compression": "zstd"},
    )
    frame = zstd_frame("a", 300)
    for name, title, plain in (
        ("trailing-byte", "A frame with a byte after it.", frame + b"\x00"),
        ("two-frames", "Two frames.", frame * 2),
        ("skippable", "A frame with a skippable one after it.", frame + b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"),
        ("cut", "A frame without its last byte.", frame[:-1]),
        ("no-size", "A frame that does not say its size.", b"\x28\xb5\x2f\xfd\x00\x58\x11\x00\x001 "),
        ("empty", "A frame of no content, with a byte after it.", b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00x"),
    ):
        made[f"refused-zstd-{name}"] = pulled(
            title, error("ValueNotDecodable"), plain=plain, head={"compression": "zstd"}
        )
    made["refused-no-zstd"] = pulled(
        "Sealed as zstd, and no frame.", error("ValueNotDecodable"), plain=b"{}", head={"compression": "zstd"}
    )
    made["refused-no-json"] = pulled("Sealed as JSON, and no JSON.", error("ValueNotDecodable"), plain=b"{")
    made["refused-codec-unknown"] = pulled("An unknown codec.", error("CodecUnknown"), head={"codec": "pickle"})
    made["refused-compression-unknown"] = pulled(
        "An unknown compression.", error("CodecUnknown"), head={"compression": "xz"}
    )
    return made


def keys() -> dict[str, Vector]:
    """Wraps and key URIs that do not fit."""
    return {
        "refused-wrap-of-another-task": pulled(
            "The wrap of another task's data key.", error("UnwrapRefused"), edit=_foreign_wrap
        ),
        "refused-wrap-malformed": pulled(
            "A wrap that is none.", error("UnwrapRefused"), edit=set_row("keys", 0, "wrapped", to="local:v2:AAAA")
        ),
        "refused-key-version-unknown": pulled(
            "A keyring that was put back to before its rotation.",
            error("KeyVersionUnknown"),
            keyring=older_keyring(),
        ),
        "refused-key-uri-foreign": pulled(
            "A key URI that is not one of the compartment's.",
            error("ContextRefused"),
            edit=set_row("keys", 0, "uri", to="local:///tmp/attackers.json"),
        ),
    }
