"""One frozen Settings from Airflow's ``[secure_xcom]`` section.

`OPTIONS` is the only list of the options: Airflow's ``config list``, the parser below and the tests of the
documentation all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

from secure_xcom.core.errors import SettingInvalid, SettingMissing

SECTION = "secure_xcom"
RELEASE = "0.1.0"


class Option(NamedTuple):
    """One option: default as text (None: not set), type for Airflow's docs, example, text, release it came in."""

    default: str | None
    type: Literal["string", "integer", "boolean"]
    example: str | None
    text: str
    added: str = "0.1.0"
    sensitive: bool = False


OPTIONS: dict[str, Option] = {
    "access_policy": Option(
        None,
        "string",
        "/opt/airflow/config/access_policy.yaml",
        "Path of the access policy (YAML). With one, key_uris and store_uri come from its compartments.",
    ),
    "key_uris": Option(
        None,
        "string",
        "local:///opt/airflow/keys/keyring.json",
        "Key URIs, comma-separated, for a deployment with one compartment and no access policy file. Every "
        "data key is wrapped with each of them, and any one opens it.",
    ),
    "store_uri": Option(
        None,
        "string",
        "file:///opt/airflow/sealed",
        "Store URI, where sealed payloads lie, for a deployment with one compartment and no access policy file.",
    ),
    "on_plaintext": Option(
        "refuse",
        "string",
        None,
        "What a pull does with a value that carries no reference: refuse, warn (give it, log it) or allow.",
    ),
    "preview": Option(
        "shape",
        "string",
        None,
        "What people see of a value in the XCom tab: none, shape (types, lengths and field names) or masked "
        "(values, sensitive ones as ***). Never read back.",
    ),
    "sensitive_names": Option(
        "",
        "string",
        "iban,patient_id",
        "More sensitive names, comma-separated, added to Airflow's own and to [core] sensitive_var_conn_names.",
    ),
    "mask_values": Option(
        "named",
        "string",
        None,
        "Which values are registered with Airflow's masker on push and on pull: named (those under sensitive "
        "names) or all (every string leaf, up to mask_max_values).",
    ),
    "mask_max_values": Option(
        "1000",
        "integer",
        None,
        "How many strings, of 262,144 characters in all, one push or pull registers with the masker at the "
        "most. Each makes every log line dearer. What is over it is not masked, and the task's log says so.",
    ),
    "hide_return_values": Option(
        "True",
        "boolean",
        None,
        "Stop operators from logging what they return before it is sealed (a cluster policy sets "
        "show_return_value_in_logs to False where an operator has it).",
    ),
    "mask_component_logs": Option(
        "True",
        "boolean",
        None,
        "Mask the copy of task logs that the LocalExecutor writes to the scheduler's own output (a hook "
        "adds Airflow's masker to the component's log processors).",
    ),
    "place_tasks": Option(
        "True",
        "boolean",
        None,
        "Send tasks where the access policy's tasks_run_on says, and refuse DAGs that name another place (a "
        "cluster policy in the DAG processor, the API server and the scheduler).",
    ),
    "inline_max_bytes": Option(
        "0",
        "integer",
        None,
        "Sealed payloads of up to this many bytes stay in the reference, in the database. 0: none.",
    ),
    "max_bytes": Option(
        str(1 << 30), "integer", None, "The largest encoded value, in bytes, that may be pushed or pulled."
    ),
    "compression": Option(
        "zstd",
        "string",
        None,
        "none or zstd (skipped where it does not shrink). The length of a compressed value tells something of "
        "it to an attacker who chooses a part of it.",
    ),
    "audit_sinks": Option(
        "",
        "string",
        "file:///var/log/airflow/access-log.jsonl",
        "Sink URIs of the access log, comma-separated (file, bucket, database, syslog, logger: docs/audit.md); "
        "each must take an event before a value is given, but for those with ?optional=true. "
        "Empty: secure_xcom/access-log.jsonl below [logging] base_log_folder.",
        sensitive=True,  # The URL of a database may hold its password.
    ),
    "audit_hash_key": Option(
        None,
        "string",
        "/opt/airflow/keys/audit-ids.key",
        "Path of a key file (32 random bytes or more, for its owner alone). With one, the access log holds ids as "
        "a keyed hash; who has the key can still search for an id.",
    ),
    "audit_hash_ids": Option(
        "",
        "string",
        "run_id,key",
        "Which ids audit_hash_key hashes, comma-separated, of dag_id, run_id, task_id, key, object and operator. "
        "Empty: all of them.",
    ),
    "sealed_log": Option(
        None,
        "string",
        "s3://aws_default@audit-bucket/sealed",
        "Store URI of the sealed log, which `secure-xcom audit seal` copies the access log into.",
    ),
    "sealed_log_name": Option(
        "secure_xcom/access-log",
        "string",
        "audit.example.com/airflow",
        "The name of the sealed log in its checkpoints, written like a URL without a scheme. It stays for ever.",
    ),
    "sealing_key": Option(
        None,
        "string",
        "vault://vault_default/transit/keys/xcom-sealing",
        "URI of the Ed25519 key that signs checkpoints: of Vault transit, AWS KMS, or file:///path/sealing.pem.",
    ),
    "sealed_log_verifiers": Option(
        "",
        "string",
        None,
        "Verifier keys (NAME+ID+KEY) that checkpoints are believed by, comma-separated. Empty: that of "
        "sealing_key, which is then asked for it.",
    ),
    "claims_uri": Option(
        None,
        "string",
        "db://claims_db",
        "Where claims on exclusive XComs are kept, for workers that reach a database: db://CONN_ID (an Airflow "
        "connection) or db+postgresql://USER:PASSWORD@HOST/NAME. Not set: beside the payloads, in their stores.",
        sensitive=True,
    ),
    "ui": Option(
        "True",
        "boolean",
        None,
        "Show sealed XComs in Airflow's UI: a tab on task instances and a page under Browse, served by the API "
        "server without a key or a store (docs/ui.md). False also turns refuse_rest_writes off.",
    ),
    "ui_audit_url": Option(
        None,
        "string",
        "db+postgresql://audit_reader@db.example.com/audit",
        "Where the API server reads who pulled an XCom: file:///path of the access log on its machine, "
        "db://CONN_ID, or a db+ URL of a user who may only SELECT. Not set: the default file of audit_sinks, if "
        "audit_sinks is not set either.",
        sensitive=True,  # The URL of a database may hold its password.
    ),
    "refuse_rest_writes": Option(
        "True",
        "boolean",
        None,
        "Refuse POST and PATCH of xcomEntries in the API server (the pencil of Airflow's own XCom tab uses them): "
        "they store plaintext. Only while on_plaintext is refuse, since no task could pull what they write.",
    ),
    "key_cache_seconds": Option(
        "300", "integer", None, "How long an unwrapped data key stays in a process's memory, in seconds."
    ),
    "key_cache_size": Option("1000", "integer", None, "How many unwrapped data keys stay in a process's memory."),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "on_plaintext": ("refuse", "warn", "allow"),
    "preview": ("none", "shape", "masked"),
    "mask_values": ("named", "all"),
    "compression": ("none", "zstd"),
}
_MINIMUM: dict[str, int] = {
    "mask_max_values": 1,
    "inline_max_bytes": 0,
    "max_bytes": 1,
    "key_cache_seconds": 0,
    "key_cache_size": 0,
}
_LISTS = ("key_uris", "sensitive_names", "audit_sinks", "audit_hash_ids", "sealed_log_verifiers")
# A sealed payload in the reference goes through Airflow's API server and into its database: over this, the
# row would no longer be small.
INLINE_LIMIT_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Settings:
    """The ``[secure_xcom]`` section, parsed and checked. Sizes are in bytes, times in seconds."""

    access_policy: str | None = None
    key_uris: tuple[str, ...] = ()
    store_uri: str | None = None
    on_plaintext: str = "refuse"
    preview: str = "shape"
    sensitive_names: tuple[str, ...] = ()
    mask_values: str = "named"
    mask_max_values: int = 1000
    hide_return_values: bool = True
    mask_component_logs: bool = True
    place_tasks: bool = True
    inline_max_bytes: int = 0
    max_bytes: int = 1 << 30
    compression: str = "zstd"
    audit_sinks: tuple[str, ...] = field(default=(), repr=False)
    audit_hash_key: str | None = None
    audit_hash_ids: tuple[str, ...] = ()
    sealed_log: str | None = None
    sealed_log_name: str = "secure_xcom/access-log"
    sealing_key: str | None = None
    sealed_log_verifiers: tuple[str, ...] = ()
    claims_uri: str | None = field(default=None, repr=False)
    ui: bool = True
    ui_audit_url: str | None = field(default=None, repr=False)
    refuse_rest_writes: bool = True
    key_cache_seconds: int = 300
    key_cache_size: int = 1000

    @classmethod
    def parse(cls, section: Mapping[str, object]) -> Settings:
        """Read the section's texts.

        :param section: option -> text; an option that is absent or None has its default.
        :raises SettingInvalid: an unknown option, or a value that is not one of the option's.
        """
        unknown = sorted(set(section) - set(OPTIONS))
        if unknown:
            raise SettingInvalid(
                f"unknown option {unknown[0]!r}",
                where=f"[{SECTION}]",
                remedy=f"the options are {', '.join(OPTIONS)}",
            )
        values: dict[str, object] = {}
        for name, option in OPTIONS.items():
            given = section.get(name)
            text = option.default if given is None else str(given).strip()
            values[name] = _parse(name, option, text)
        settings = cls(**values)  # type: ignore[arg-type]  # each value was parsed by the option's own type
        if settings.inline_max_bytes > INLINE_LIMIT_BYTES:
            raise SettingInvalid(
                f"inline_max_bytes is over {INLINE_LIMIT_BYTES}", where=f"[{SECTION}] inline_max_bytes"
            )
        return settings

    def require_place(self) -> None:
        """Refuse settings that say neither with which key nor where to.

        :raises SettingMissing: with the two lines that are to be written.
        """
        if self.access_policy:
            return
        missing = [name for name in ("key_uris", "store_uri") if not getattr(self, name)]
        if missing:
            raise SettingMissing(
                f"{' and '.join(missing)} not set, so nothing can be sealed",
                where=f"[{SECTION}]",
                remedy=(
                    "write `key_uris = local:///path/keyring.json` and `store_uri = file:///path` (or an "
                    "access_policy) into [secure_xcom]; `secure-xcom init` makes the keyring and prints the lines"
                ),
            )


def _parse(name: str, option: Option, text: str | None) -> object:
    where = f"[{SECTION}] {name}"
    if name in _LISTS:
        return tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if text is None or (text == "" and option.default is None):
        return None
    if option.type == "integer":
        try:
            number = int(text)
        except ValueError:
            raise SettingInvalid(f"{text!r:.40} is not a whole number", where=where) from None
        if number < _MINIMUM[name]:
            raise SettingInvalid(f"{number} is under {_MINIMUM[name]}", where=where)
        return number
    if option.type == "boolean":
        lowered = text.lower()
        if lowered in ("true", "t", "1", "yes", "on"):
            return True
        if lowered in ("false", "f", "0", "no", "off"):
            return False
        raise SettingInvalid(f"{text!r:.40} is neither true nor false", where=where)
    choices = _CHOICES.get(name)
    if choices and text not in choices:
        raise SettingInvalid(f"{text!r:.40} is not one of {', '.join(choices)}", where=where)
    return text


if {field.name for field in fields(Settings)} != set(OPTIONS):  # pragma: no cover
    raise AssertionError("Settings and OPTIONS must name the same options")
