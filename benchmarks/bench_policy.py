"""What a large access policy costs: reading 5,000 compartments, finding a DAG's compartment, telling grants, lint.

    python benchmarks/bench_policy.py [--compartments COUNT]
    python benchmarks/bench_policy.py --compile [--compartments 1000] [--dags 20000]

The second form is what `policy compile` does for so many DAGs, and the compartment of each of them; a tenth of
both comes first, to show how the cost grows.

The peers, in the same run: PyYAML's own C loader with a JSON Schema validation of what it gives (the plain way to
a checked file), the C loader alone, and fnmatch over the globs one by one; for grants every reader held against
every compartment, as a table without an index would.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jsonschema
import yaml

from secure_xcom.core.access_policy import schema
from secure_xcom.core.access_policy.glob_relations import overlap
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.access_policy import lint


def best(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of a few tries, in seconds of this process."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def policy_text(
    count: int,
    readers: str = "{dags: [report_{index}], tasks: [load]}",
    dags: str = '["team{index}_*", "*_of_team{index}", other_{index}]',
) -> str:
    """A policy of many compartments, with three globs, a reader and an identity each."""
    compartments = "".join(
        f"""\
  - name: team-{index}
    dags: {dags.replace("{index}", str(index))}
    key_uris: ["vault://vault_default/transit/keys/xcom-team-{index}"]
    store_uri: s3://aws_default@xcom/sealed
    readers: [{readers.replace("{index}", str(index)).replace("{next}", str((index + 1) % count))}]
"""
        for index in range(count)
    )
    identities = "".join(
        f"  - {{name: workers-{index}, workers_of: [team-{index}], vault: {{auth: approle}}}}\n"
        for index in range(count)
    )
    return f"version: 1\ncompartments:\n{compartments}identities:\n{identities}"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compartments", type=int)
    parser.add_argument("--dags", type=int, default=20_000)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.compile:
        count = options.compartments or 1000
        for size in (count // 10, count):
            compiled(size, options.dags * size // count)
        return
    count = options.compartments or 5000
    text = policy_text(count)
    raw = text.encode()
    print(f"{count} compartments and identities, {len(raw) / 1e6:.1f} MB of YAML")

    loaded = best(lambda: AccessPolicy.parse(raw, where="policy.yaml"))
    plain = best(lambda: yaml.load(text, Loader=yaml.CSafeLoader))
    document = yaml.load(text, Loader=yaml.CSafeLoader)
    validator = jsonschema.Draft202012Validator(schema.schema())
    validated = best(lambda: validator.validate(document), times=1)
    print(f"read, checked, ready:            {loaded:.2f} s")
    both = plain + validated
    print(f"CSafeLoader and jsonschema:      {both:.2f} s, {both / loaded:.1f} times ours")
    print(f"CSafeLoader alone:               {plain:.2f} s, {plain / loaded:.1f} times ours")

    policy = AccessPolicy.parse(raw, where="policy.yaml")
    asked = [f"team{index}_load" for index in range(0, count, max(1, count // 200))]
    first = best(lambda: [policy.resolve_dag(dag_id) for dag_id in asked], times=1) / len(asked)
    again = best(lambda: [policy.resolve_dag(dag_id) for dag_id in asked]) / len(asked)
    one_by_one = best(lambda: [_plainly(policy, dag_id) for dag_id in asked[::20]], times=1) / len(asked[::20])
    print(f"a DAG's compartment, first time: {first * 1e6:.0f} us, again {again * 1e6:.2f} us")
    print(f"fnmatch, glob after glob:        {one_by_one * 1e6:.0f} us, {one_by_one / first:.0f} times ours")
    grants(count)


def compiled(count: int, dags: int) -> None:
    """Figures for compiling a policy for existing DAGs, and for the compartment of each."""
    policy = AccessPolicy.parse(policy_text(count).encode(), where="policy.yaml")
    ids = [f"team{number % count}_dag_{number}" for number in range(dags)]
    resolved = best(lambda: [policy.resolve_dag(dag_id) for dag_id in ids], times=1)
    begun, processor = time.perf_counter(), time.process_time()
    made = compile_policy(policy, ids)
    seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{count} compartments and identities, {dags} DAGs: compiled in {seconds:.1f} s (processor time "
        f"{processor:.1f} s), {len(made.files)} files; every DAG's compartment {resolved:.2f} s; peak {peak} MiB",
        flush=True,
    )


def grants(count: int) -> None:
    """Figures for what identities may do: readers whose globs meet one other compartment, and readers for all."""
    next_alone = '{dags: ["team{next}_*"], of_dags: [team{index}_x]}'
    for name, dags, readers in (
        ("the next", '["team{index}_*", other_{index}]', next_alone),
        ("all, by their globs", '["team{index}_*", "*_of_team{index}"]', next_alone),
        ("everybody", '["team{index}_*", other_{index}]', '{dags: ["*"]}'),
    ):
        _grants(count, name, policy_text(count, readers, dags).encode())


def _grants(count: int, name: str, raw: bytes) -> None:
    policy = AccessPolicy.parse(raw, where="policy.yaml")
    one = best(lambda: grants_of(policy, policy.identities[count // 2]), times=1)
    some = policy.identities[:: max(1, count // 100)]
    each = best(lambda: [grants_of(policy, identity) for identity in some], times=1) / len(some)
    sample = policy.compartments[:: max(1, count // 20)]
    plain = best(lambda: [_plain_grants(policy, own.dags) for own in sample], times=1) / len(sample)
    number = len(grants_of(policy, policy.identities[0]))
    print(
        f"readers admit {name}: {number} grants of an identity, first {one * 1e3:.1f} ms, each {each * 1e3:.3f} ms"
    )
    print(f"  each reader, one by one:       {plain * 1e3:.1f} ms, {plain / each:.1f} times ours")
    if name == "the next":
        print(f"  lint of the whole file:        {best(lambda: lint(raw, where='policy.yaml'), times=1):.1f} s")


def _plain_grants(policy: AccessPolicy, dags: tuple[str, ...]) -> int:
    return sum(
        any(overlap(glob, taken) for glob in reader.dags for taken in dags)
        for own in policy.compartments
        for reader in own.readers
    )


def _plainly(policy: AccessPolicy, dag_id: str) -> str | None:
    for compartment in policy.compartments:
        if any(fnmatchcase(dag_id, glob) for glob in compartment.dags):
            return compartment.name
    return None


if __name__ == "__main__":
    main()
