"""Parse Airflow's ``[secure_xcom]`` section into an immutable `Settings`.

The fields of `Settings` are the only declaration of the options. `OPTIONS` is made from them, for Airflow's
``config list`` and for docs/reference/settings.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from secure_xcom.core.errors import SettingInvalid

SECTION = "secure_xcom"
RELEASE = "0.1.0"
ENVIRONMENT = f"AIRFLOW__{SECTION.upper()}__"
"""What the environment variable of an option begins with; its name follows in capital letters."""

INLINE_LIMIT_BYTES = 65_536
"""The largest sealed payload in a reference: it passes through Airflow's API server into its database, where rows
must stay small."""


class Option(NamedTuple):
    """One option.

    :ivar value: its default, as `Settings` has it.
    :ivar text: what it is for, for Airflow's docs; :ivar added: the release that it came with.
    :ivar sensitive: it may hold a password, so it is not shown.
    :ivar unset: report an empty list to Airflow as unset.
    """

    value: object
    text: str
    example: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    sensitive: bool = False
    unset: bool = False
    added: str = "0.1.0"

    @property
    def default(self) -> str | None:
        """The default as text; None where it is not set."""
        if self.value is None or self.unset:
            return None
        return "" if self.value == () else str(self.value)

    @property
    def type(self) -> Literal["string", "integer", "boolean"]:
        """The type in Airflow's words."""
        if isinstance(self.value, bool):
            return "boolean"
        return "integer" if isinstance(self.value, int) else "string"


def _option(default: object, text: str, **rule: Any) -> Any:
    """Declare an option; `rule` are other fields of `Option`."""
    option = Option(default, text, **rule)
    return field(default=default, repr=not option.sensitive, metadata={"option": option})


@dataclass(frozen=True, slots=True)
class Settings:
    """The ``[secure_xcom]`` section, parsed and checked. Sizes are in bytes, times in seconds."""

    access_policy: str | None = _option(
        None,
        "Path of the access policy (YAML). With one, key_uris and store_uri come from its compartments.",
        example="/opt/airflow/config/access_policy.yaml",
    )
    key_uris: tuple[str, ...] = _option(
        (),
        "Key URIs, comma-separated, for a deployment with one compartment and no access policy file. "
        "Every data key is wrapped with each of them, and any one of them can unwrap it.",
        example="local:///opt/airflow/keys/keyring.json",
        unset=True,
    )
    store_uri: str | None = _option(
        None,
        "Store URI for sealed payloads, for a deployment with one compartment and no access policy file.",
        example="file:///opt/airflow/sealed",
    )
    on_plaintext: str = _option(
        "refuse",
        "What a pull does with a value that has no reference: refuse, warn (return and log it) or allow.",
        choices=("refuse", "warn", "allow"),
    )
    preview: str = _option(
        "shape",
        "What the XCom tab shows of a value: none, shape (types, lengths and field names) or masked "
        "(values, with sensitive ones as ***). Never read back.",
        choices=("none", "shape", "masked"),
    )
    sensitive_names: tuple[str, ...] = _option(
        (),
        "More sensitive names, comma-separated, in addition to Airflow's own and to [core] "
        "sensitive_var_conn_names. Any case; camelCase, hyphens and spaces count as underscores.",
        example="iban,patient_id",
    )
    not_sensitive_names: tuple[str, ...] = _option(
        (),
        "Names that are not sensitive although they contain a sensitive name, comma-separated, as names or globs "
        "(* and ?) of the whole name, spelled like sensitive_names, which they override. In addition to "
        "built-in ones such as total_tokens, next_page_token and secret_name (docs/how-to/mask-secrets.md).",
        example="session_token_kind,*_token_label",
    )
    mask_values: str = _option(
        "named",
        "Which values are registered with Airflow's masker on push and on pull: named (those under "
        "sensitive names), all (every string leaf, up to mask_max_values) or none (only exclusive XComs).",
        choices=("named", "all", "none"),
    )
    mask_max_values: int = _option(
        1000,
        "The maximum number of strings, of 262,144 characters in all, that one push or pull registers "
        "with the masker. Each registered value slows every log line. Values over the limit are not "
        "masked, and the task's log says so.",
        minimum=1,
    )
    hide_return_values: bool = _option(
        True,
        "Stop operators from logging their return value before it is sealed (a cluster policy sets "
        "show_return_value_in_logs to False where an operator has it).",
    )
    mask_component_logs: bool = _option(
        True,
        "Mask the copy of task logs that the LocalExecutor writes to the scheduler's own output, and what tasks "
        "log and print under dag.test() (a hook adds Airflow's masker to the process's log processors).",
    )
    place_tasks: bool = _option(
        True,
        "Send tasks to the places in the access policy's tasks_run_on, and refuse DAGs that name another "
        "place (a cluster policy in the DAG processor, the API server and the scheduler).",
    )
    inline_max_bytes: int = _option(
        0,
        "Sealed payloads of up to this many bytes stay in the reference, in the database. 0: none.",
        minimum=0,
        maximum=INLINE_LIMIT_BYTES,
    )
    max_bytes: int = _option(
        1 << 30,
        "The largest encoded value, in bytes, that may be pushed or pulled.",
        minimum=1,
    )
    compression: str = _option(
        "zstd",
        "none or zstd (skipped where it does not reduce the size). The length of a compressed value reveals "
        "something about it to an attacker who controls a part of it.",
        choices=("none", "zstd"),
    )
    attempt_fields: str = _option(
        "loops",
        "Which XComs name their producer's attempt in the authenticated head, from Airflow 3.4 on: loops (those "
        "of tasks in a loop, whose iterations are told apart by it), all, or none. Every reader must know "
        "these fields: set all only after no worker runs a release that predates them.",
        choices=("loops", "all", "none"),
    )
    audit_sinks: tuple[str, ...] = _option(
        (),
        "Sink URIs of the access log, comma-separated (file, bucket, database, syslog, logger: "
        "docs/reference/access-log.md). Each must accept an event before a value is returned, except those "
        "with ?optional=true. Empty: secure_xcom/access-log.jsonl below [logging] base_log_folder.",
        example="file:///var/log/airflow/access-log.jsonl",
        sensitive=True,
    )
    audit_hash_key: str | None = _option(
        None,
        "Path of a key file (32 random bytes or more, readable by its owner only). With one, the access "
        "log holds ids as a keyed hash; the key's owner can still search for an id.",
        example="/opt/airflow/keys/audit-ids.key",
    )
    audit_hash_ids: tuple[str, ...] = _option(
        (),
        "The ids that audit_hash_key hashes, comma-separated, of dag_id, run_id, task_id, key, object and"
        " operator. Empty: all of them.",
        example="run_id,key",
    )
    sealed_log: str | None = _option(
        None,
        "Store URI of the anchored log, in which `secure-xcom audit anchor` anchors the access log.",
        example="s3://aws_default@audit-bucket/sealed",
    )
    sealed_log_name: str = _option(
        "secure_xcom/access-log",
        "The name of the anchored log in its checkpoints, written like a URL without a scheme. It cannot be"
        " changed later.",
        example="audit.example.com/airflow",
    )
    sealing_key: str | None = _option(
        None,
        "URI of the Ed25519 key that signs checkpoints: in Vault transit, in AWS KMS, or "
        "file:///path/sealing.pem.",
        example="vault://vault_default/transit/keys/xcom-sealing",
    )
    sealed_log_verifiers: tuple[str, ...] = _option(
        (),
        "Verifier keys (NAME+ID+KEY) to trust for checkpoints, comma-separated. Empty: the verifier key "
        "of sealing_key, which is then requested.",
    )
    claims_uri: str | None = _option(
        None,
        "Where claims on exclusive XComs are stored, for workers that can reach a database: db://CONN_ID "
        "(an Airflow connection) or db+postgresql://USER:PASSWORD@HOST/NAME. Not set: beside the "
        "payloads, in their stores.",
        example="db://claims_db",
        sensitive=True,
    )
    ui: bool = _option(
        True,
        "Show sealed XComs in Airflow's UI: a tab on task instances and a page under Browse, served by the "
        "API server without a key or a store (docs/reference/ui.md). False also turns refuse_rest_writes off.",
    )
    ui_audit_url: str | None = _option(
        None,
        "Where the API server reads who pulled an XCom: file:///path of the access log on its machine, "
        "db://CONN_ID, or a db+ URL of a user who may only SELECT. Not set: the default file of "
        "audit_sinks, if audit_sinks is not set either.",
        example="db+postgresql://audit_reader@db.example.com/audit",
        sensitive=True,
    )
    refuse_rest_writes: bool = _option(
        True,
        "Refuse POST and PATCH of xcomEntries in the API server (the pencil of Airflow's own XCom tab uses "
        "them): they store plaintext. Only while on_plaintext is refuse, because no task could pull what they "
        "write.",
    )
    key_cache_seconds: int = _option(
        300,
        "How long an unwrapped data key stays in a process's memory, in seconds.",
        minimum=0,
    )
    key_cache_size: int = _option(
        1000,
        "How many unwrapped data keys stay in a process's memory.",
        minimum=0,
    )

    @classmethod
    def parse(cls, section: Mapping[str, object]) -> Settings:
        """Parse the section's texts.

        :param section: option -> text; an option that is absent or None has its default. An unknown option of the
            environment is named by its variable.
        :raises SettingInvalid: an unknown option, or an invalid value.
        """
        if unknown := sorted(set(section) - set(OPTIONS)):
            from secure_xcom.core.setting_faults import unknown_option

            raise unknown_option(unknown[0])
        given = {name: str(value).strip() for name, value in section.items() if value is not None}
        return cls(**{name: _parse(name, text) for name, text in given.items()})

    def require_place(self) -> None:
        """Refuse settings without a key or a store.

        :raises SettingMissing: names the missing options.
        """
        if self.access_policy:
            return
        missing = [name for name in ("key_uris", "store_uri") if not getattr(self, name)]
        if missing:
            from secure_xcom.core.setting_faults import no_place

            raise no_place(missing)


OPTIONS: dict[str, Option] = {setting.name: setting.metadata["option"] for setting in fields(Settings)}
"""Option name -> option, made from the fields of `Settings`."""


def _parse(name: str, text: str) -> Any:
    option = OPTIONS[name]
    default = option.value
    where = f"[{SECTION}] {name}"
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if text == "" and default is None:
        return None
    if isinstance(default, bool):
        lowered = text.lower()
        if lowered in ("true", "t", "1", "yes", "on"):
            return True
        if lowered in ("false", "f", "0", "no", "off"):
            return False
        raise SettingInvalid(f"{text!r:.40} is neither true nor false", where=where)
    if isinstance(default, int):
        return _parse_number(text, option, where)
    if option.choices and text not in option.choices:
        from secure_xcom.core.setting_faults import not_a_choice

        raise not_a_choice(text, option.choices, where)
    return text


def _parse_number(text: str, option: Option, where: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise SettingInvalid(f"{text!r:.40} is not a whole number", where=where) from None
    if option.minimum is not None and number < option.minimum:
        raise SettingInvalid(f"{number} is under {option.minimum}", where=where)
    if option.maximum is not None and number > option.maximum:
        raise SettingInvalid(f"{number} is over {option.maximum}", where=where)
    return number
