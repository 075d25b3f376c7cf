"""The access policy: load, resolve, decide.

What is decided here holds as long as the worker runs our code: it is defence in depth and gives clear errors.
What holds against a hostile worker are the key service's and the bucket's own policies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secure_xcom.coordinate import Coordinate, TaskTry
from secure_xcom.errors import AccessRefused, CompartmentUnknown, PolicyInvalid, SettingInvalid

DEFAULT_COMPARTMENT = "default"

_Glob = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Uri = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[a-z0-9-]+://[^\s\x00-\x1f]*$")]


class Compartment(BaseModel):
    """A named trust boundary: which DAGs belong to it, its keys, its store, who else may pull."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    dags: Annotated[tuple[_Glob, ...], Field(min_length=1, strict=False)]
    key_uris: Annotated[tuple[_Uri, ...], Field(min_length=1, max_length=8, strict=False)]
    store_uri: _Uri
    readers: Annotated[tuple[_Glob, ...], Field(strict=False)] = ()

    def takes(self, dag_id: str) -> bool:
        """Whether a DAG belongs to it."""
        return any(fnmatchcase(dag_id, glob) for glob in self.dags)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    compartments: Annotated[tuple[Compartment, ...], Field(min_length=1, strict=False)]


class AccessPolicy:
    """The compartments, in order. First match wins; no match is refused."""

    def __init__(self, compartments: Sequence[Compartment], *, digest: str, consumers_known: bool) -> None:
        self.compartments = tuple(compartments)
        self.digest = digest
        # With one compartment for everything there is nobody to be kept out, and a consumer that Airflow does
        # not name (a callback after the task, a trigger) may pull; with a file it may not.
        self._consumers_known = consumers_known

    @classmethod
    def single(cls, key_uris: Sequence[str], store_uri: str) -> AccessPolicy:
        """One compartment named ``default`` that takes every DAG.

        :raises SettingInvalid: a URI is of a form that none can have, or there are none or too many.
        """
        try:
            compartment = Compartment(
                name=DEFAULT_COMPARTMENT, dags=("*",), key_uris=tuple(key_uris), store_uri=store_uri
            )
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SettingInvalid(f"{field}: {first['msg']}", where="[secure_xcom] key_uris, store_uri") from None
        digest = hashlib.sha256(compartment.model_dump_json().encode()).hexdigest()
        return cls((compartment,), digest=digest, consumers_known=False)

    @classmethod
    def load(cls, path: str) -> AccessPolicy:
        """Read the access policy file.

        :raises PolicyInvalid: says what is wrong and where.
        """
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise PolicyInvalid(f"the file cannot be read ({type(error).__name__})", where=path) from None
        try:
            # The loader is a SafeLoader that takes less.
            record: Any = yaml.load(raw, Loader=_StrictLoader)  # noqa: S506
            parsed = _File.model_validate(record)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else path
            raise PolicyInvalid(
                f"not YAML that we read: {getattr(error, 'problem', None) or error}", where=at
            ) from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise PolicyInvalid(f"{field}: {first['msg']}", where=path) from None
        names = [compartment.name for compartment in parsed.compartments]
        if len(set(names)) != len(names):
            raise PolicyInvalid("two compartments have the same name", where=path)
        return cls(parsed.compartments, digest=hashlib.sha256(raw).hexdigest(), consumers_known=True)

    def resolve(self, coordinate: Coordinate) -> Compartment:
        """The compartment that an XCom belongs to.

        :raises CompartmentUnknown: none takes its DAG.
        """
        for compartment in self.compartments:
            if compartment.takes(coordinate.dag_id):
                return compartment
        raise CompartmentUnknown(f"no compartment takes the DAG {coordinate.dag_id!r:.80}", where=str(coordinate))

    def decide(self, coordinate: Coordinate, compartment: str, consumer: TaskTry | None) -> Compartment:
        """Whether this consumer may pull, before any key is asked for.

        :param compartment: the compartment that the reference's head names.
        :raises CompartmentUnknown: the XCom does not belong to the compartment that its head names.
        :raises AccessRefused: the consumer is neither of the compartment nor one of its readers.
        """
        own = self.resolve(coordinate)
        if own.name != compartment:
            raise CompartmentUnknown(
                f"the reference is of compartment {compartment!r:.70}, the XCom belongs to {own.name!r}",
                where=str(coordinate),
                remedy="clear the producing task if its DAG was moved to another compartment; else look for who "
                "wrote this row",
            )
        if not self._consumers_known:
            return own
        if consumer is None:
            raise AccessRefused("the consumer is not known here, so it cannot be allowed", where=str(coordinate))
        if own.takes(consumer.dag_id) and self.resolve_dag(consumer.dag_id) is own:
            return own
        if any(fnmatchcase(consumer.dag_id, glob) for glob in own.readers):
            return own
        raise AccessRefused(
            f"the DAG {consumer.dag_id!r:.80} is not a reader of compartment {own.name!r}", where=str(coordinate)
        )

    def resolve_dag(self, dag_id: str) -> Compartment | None:
        """The compartment that a DAG belongs to, or None."""
        return next((entry for entry in self.compartments if entry.takes(dag_id)), None)


class _StrictLoader(yaml.SafeLoader):
    """YAML without duplicate keys, anchors and aliases: a policy says each thing once, where it is read."""

    def compose_node(self, parent: Any, index: int) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem="keys are strings", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r:.60} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
