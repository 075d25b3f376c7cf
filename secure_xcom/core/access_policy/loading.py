"""Load an access policy file: from its bytes to a checked `PolicyFile`, each fault with its line and column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from secure_xcom.core.access_policy import nested_folders, yaml_reader
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.policy_file import IMPLEMENTATIONS, PolicyFile, model_of
from secure_xcom.core.access_policy.yaml_reader import KEY, Marks, Path
from secure_xcom.core.findings import Finding
from secure_xcom.core.load_adapter import load as load_section


def load(raw: bytes, *, where: str) -> PolicyFile:
    """Read and check a policy file.

    :raises PolicyInvalid: with the line and column of the first fault, and the number of others.
    """
    file, problems = check(yaml_reader.read(raw, where=where))
    if file is not None and not problems:
        return file
    _, marks = yaml_reader.read_with_marks(raw, where=where)
    faults = sorted((place(marks, problem.path), problem.text) for problem in problems)
    (line, column), text = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    raise yaml_reader.refused(text + more, where, line, column)


def check(data: object) -> tuple[PolicyFile | None, list[Finding]]:
    """Return the file as models, or None if its shape is wrong, and all its faults."""
    try:
        given: Iterable[object] = data if isinstance(data, Mapping) else ()
        file = model_of(frozenset(IMPLEMENTATIONS.keys() & given)).model_validate(data)
    except ValidationError as error:
        from secure_xcom.core.access_policy import fault_texts

        details = fault_texts.kept(error.errors(include_url=False))
        return None, [fault(_path(detail), fault_texts.text_of(detail)) for detail in details]
    return file, list(_cross(file))


def place(marks: Marks, path: Path) -> tuple[int, int]:
    """Return the line and column of a path, or of its nearest known parent, without the parts pydantic adds."""
    known: list[str | int] = []
    for part in path:
        if (*known, part) in marks:
            known.append(part)
    return marks.get(tuple(known), (1, 1))


def fault(path: Path, text: str, rule: str = "invalid") -> Finding:
    """Return a fault at a path of the file."""
    return Finding("", "error", text, rule=rule, path=path)


def _path(error: Mapping[str, Any]) -> Path:
    # The fault of an unknown field is its name, not its value.
    return (*error["loc"], KEY) if error["type"] == "extra_forbidden" else tuple(error["loc"])


def _cross(file: PolicyFile) -> Iterator[Finding]:
    """Yield faults across fields: duplicate names, unknown names, contradicting rules."""
    names = {compartment.name for compartment in file.compartments}
    yield from _duplicates("compartments", (compartment.name for compartment in file.compartments))
    yield from _duplicates("identities", (identity.name for identity in file.identities))
    yield from _duplicates("legal_holds", (hold.name for hold in file.legal_holds))
    yield from _duplicates("alarms", (alarm.name for alarm in file.alarms))
    yield from _open_places(file)
    default = file.defaults.compartment
    if default is not None and default not in names:
        yield unknown_compartment(("defaults", "compartment"), default, names)
    for index, compartment in enumerate(file.compartments):
        yield from _compartment(
            compartment, ("compartments", index), names, is_default=compartment.name == default
        )
    for store, text in nested_folders.texts(nested_folders.nested(file.compartments), file.compartments):
        yield fault(("compartments", store.compartment, *store.field), text, "nested-store")
    for section in IMPLEMENTATIONS.keys() & file.model_fields_set:
        yield from load_section(IMPLEMENTATIONS, section).faults(file, names)


def _open_places(file: PolicyFile) -> Iterator[Finding]:
    """Yield places that have an owner and are open to all DAGs at once."""
    owners = {
        place: f"compartment {compartment.name!r}"
        for compartment in file.compartments
        for place in (compartment.tasks_run_on.places if compartment.tasks_run_on else ())
    }
    for index, identity in enumerate(file.identities):
        on = identity.runs_on
        owners |= dict.fromkeys(on.places if on else (), f"identity {identity.name!r}")
        if on is not None and not on.places:
            yield fault(("identities", index, "runs_on"), "runs_on names no place")
    for field in type(file.open_places).model_fields:
        for number, value in enumerate(getattr(file.open_places, field)):
            if owner := owners.get((field, value)):
                yield fault(
                    ("open_places", field, number),
                    f"the {field} {value!r} belongs to {owner}, so it cannot be open to all",
                )


def _compartment(here: Compartment, path: Path, names: set[str], *, is_default: bool) -> Iterator[Finding]:
    if not here.dags and not is_default:
        yield fault(path, f"the compartment {here.name!r} has no DAGs: give it dags")
    for number, reader in enumerate(here.readers):
        reader_path = (*path, "readers", number)
        if reader.compartment is None and all(is_glob(glob) and not glob.strip("*") for glob in reader.dags):
            if "dags" not in reader.model_fields_set:
                yield fault(
                    reader_path, 'a reader must have compartment, dags or both (dags: ["*"] for every DAG)'
                )
        elif reader.compartment == here.name:
            yield fault((*reader_path, "compartment"), "a compartment's own tasks may pull without a reader")
        elif reader.compartment is not None and reader.compartment not in names:
            yield unknown_compartment((*reader_path, "compartment"), reader.compartment, names)
    for number, route in enumerate(here.routes):
        if route.keys is None and route.sensitive is None:
            yield fault((*path, "routes", number), "a route must have keys, sensitive: true or both")


def _duplicates(field: str, names: Iterable[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield fault((field, index, "name"), f"the name {name!r} is used twice")
        seen.add(name)


def unknown_compartment(path: Path, name: str, names: Iterable[str]) -> Finding:
    """Return the fault of a name that no compartment has."""
    from secure_xcom.core.suggest import closest

    like = closest(name, names)
    return fault(path, f"there is no compartment {name!r}" + (f": did you mean {like!r}?" if like else ""))


def first_fault(error: ValidationError) -> str:
    """Return the text of the first fault that a model reports."""
    from secure_xcom.core.access_policy.fault_texts import text_of

    return text_of(error.errors(include_input=False, include_url=False, include_context=True)[0])
