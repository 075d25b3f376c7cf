"""The access policy: which compartment an XCom belongs to, and who may pull it.

What is decided here holds as long as the worker runs our code: it is defence in depth and gives clear errors.
What holds against a hostile worker are the key service's and the bucket's own policies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from secure_xcom.core.access_policy import loading
from secure_xcom.core.access_policy.alarms import Alarm
from secure_xcom.core.access_policy.dag_origin import Origin, mismatch
from secure_xcom.core.access_policy.deciding import Verdict, judge
from secure_xcom.core.access_policy.globs import FirstMatch, matches, overlap
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.model import Compartment, LegalHold, OpenPlaces, PolicyFile
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import AccessRefused, CompartmentUnknown, PolicyInvalid, SettingInvalid, WriteRefused

DEFAULT_COMPARTMENT = "default"

# A process sees the ids of few DAGs; a DAG processor sees thousands, one after the other.
_CACHED_DAGS = 4096
_INHERITED = ("retention", "max_bytes", "mask_values", "hide_return_values")


class AccessPolicy:
    """The compartments, in order, with the file's defaults in them, and the identities.

    The first compartment with a glob for a DAG's id takes it, else the default compartment, else it is refused.

    :param default: the name of the compartment for DAGs that no glob takes.
    :param consumers_known: False where there is nobody to be kept out.
    """

    def __init__(
        self,
        compartments: Sequence[Compartment],
        *,
        digest: str,
        consumers_known: bool,
        default: str | None = None,
        identities: Sequence[Identity] = (),
        legal_holds: Sequence[LegalHold] = (),
        alarms: Sequence[Alarm] = (),
        open_places: OpenPlaces | None = None,
    ) -> None:
        self.compartments = tuple(compartments)
        self.identities = tuple(identities)
        self.legal_holds = tuple(legal_holds)
        self.alarms = tuple(alarms)
        self.alarms_at_once = tuple(alarm for alarm in self.alarms if alarm.at_once)
        self.open_places = open_places or OpenPlaces()
        self.digest = digest
        # With one compartment for everything there is nobody to be kept out, and a consumer that Airflow does
        # not name (a callback after the task, a trigger) may pull; with a file it may not.
        self._consumers_known = consumers_known
        self._by_name = {compartment.name: compartment for compartment in self.compartments}
        self.default = None if default is None else self._by_name[default]
        self._first = FirstMatch(
            (glob, index) for index, compartment in enumerate(self.compartments) for glob in compartment.dags
        )
        self._resolved: dict[str, Compartment | None] = {}
        self._runners = FirstMatch(
            (glob, index)
            for index, identity in enumerate(self.identities)
            for glob in (identity.runs_on and identity.runs_on.dags) or ()
        )

    @classmethod
    def single(cls, key_uris: Sequence[str], store_uri: str) -> AccessPolicy:
        """One compartment named ``default`` that takes every DAG.

        :raises SettingInvalid: a URI is of a form that none can have, or there are none or too many.
        """
        try:
            compartment = loading.one_compartment(key_uris, store_uri, name=DEFAULT_COMPARTMENT)
        except PolicyInvalid as error:
            raise SettingInvalid(error.what, where="[secure_xcom] key_uris, store_uri") from None
        digest = hashlib.sha256(compartment.model_dump_json().encode()).hexdigest()
        return cls((compartment,), digest=digest, consumers_known=False)

    @classmethod
    def load(cls, path: str) -> AccessPolicy:
        """Read the access policy file.

        :raises PolicyInvalid: says what is wrong, and the line and column where.
        """
        return cls.parse(read_bytes(path), where=path)

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> AccessPolicy:
        """The access policy of a file's bytes.

        :param where: the file's name, for errors.
        :raises PolicyInvalid: says what is wrong, and the line and column where.
        """
        return cls.of(loading.load(raw, where=where), digest=hashlib.sha256(raw).hexdigest())

    @classmethod
    def of(cls, file: PolicyFile, *, digest: str) -> AccessPolicy:
        """The access policy that a file says: its defaults stand in each compartment that leaves them out."""
        inherited = {name: getattr(file.defaults, name) for name in _INHERITED}
        inherited = {name: value for name, value in inherited.items() if value is not None}
        return cls(
            [_with_defaults(compartment, inherited) for compartment in file.compartments],
            digest=digest,
            consumers_known=True,
            default=file.defaults.compartment,
            identities=file.identities,
            legal_holds=file.legal_holds,
            alarms=file.alarms,
            open_places=file.open_places,
        )

    def compartment(self, name: str) -> Compartment:
        """The compartment of this name.

        :raises CompartmentUnknown: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise CompartmentUnknown(f"there is no compartment {name!r:.70}")
        return found

    def resolve_dag(self, dag_id: str) -> Compartment | None:
        """The compartment that a DAG belongs to, or None."""
        if dag_id not in self._resolved:
            if len(self._resolved) >= _CACHED_DAGS:
                self._resolved.clear()
            index = self._first.find(dag_id)
            self._resolved[dag_id] = self.default if index is None else self.compartments[index]
        return self._resolved[dag_id]

    def runner(self, dag_id: str) -> Identity | None:
        """The first identity whose ``runs_on`` names a DAG, or None."""
        index = self._runners.find(dag_id)
        return None if index is None else self.identities[index]

    def resolve(self, coordinate: Coordinate) -> Compartment:
        """The compartment that an XCom belongs to.

        :raises CompartmentUnknown: none takes its DAG.
        """
        found = self.resolve_dag(coordinate.dag_id)
        if found is None:
            raise CompartmentUnknown(
                f"no compartment takes the DAG {coordinate.dag_id!r:.80}", where=str(coordinate)
            )
        return found

    def held(self, dag_id: str, run_id: str) -> LegalHold | None:
        """The first legal hold on a DAG's run, or None. What is held is neither deleted nor shredded."""
        for hold in self.legal_holds:
            if _any(hold.dags, dag_id) and _any(hold.runs, run_id):
                return hold
        return None

    def holds_in(self, compartment: Compartment) -> tuple[LegalHold, ...]:
        """The legal holds that may be on something in a compartment."""
        return tuple(
            hold
            for hold in self.legal_holds
            if compartment is self.default
            or any(overlap(glob, taken) for glob in hold.dags for taken in compartment.dags)
        )

    def decide_write(
        self, coordinate: Coordinate, producer: TaskTry | None, *, maintenance: bool = False
    ) -> Verdict:
        """Decide whether this producer may push or purge at a coordinate: within its own compartment only.

        The task need not be the coordinate's own, nor of its DAG, since a compartment is the boundary; but of
        another DAG's bundle and team nothing is known here, so it must where the compartment asks for these.

        :param maintenance: a job of ours calls, which works on rows that are there and for no task.
        :raises CompartmentUnknown: no compartment takes the XCom's DAG.
        """
        own = self.resolve(coordinate)
        if not self._consumers_known:
            return Verdict(own, "single")
        if maintenance:
            return Verdict(own, "maintenance")
        if producer is None:
            what = "Airflow does not say here for which task instance this is, so it cannot be allowed"
            remedy = "push and delete XComs in a task; docs/policies.md lists who may besides"
            return Verdict(own, "producer", WriteRefused(what, where=str(coordinate), remedy=remedy))
        theirs = self.resolve_dag(producer.dag_id)
        if theirs is not own:
            whose = "no compartment" if theirs is None else f"compartment {theirs.name!r}"
            what = (
                f"the DAG {producer.dag_id!r:.80} is of {whose}, and the XCom belongs to compartment {own.name!r}"
            )
            return Verdict(own, "producer.compartment", WriteRefused(what, where=str(coordinate)))
        if own.bundles is not None or own.teams is not None:
            origin = Origin.of(producer, coordinate.dag_id)
            wrong = mismatch(own, coordinate.dag_id, origin, where=str(coordinate))
            if wrong is not None:
                return Verdict(own, f"producer.{wrong.field}", wrong.refusal)
        return Verdict(own, "own")

    def decide(self, coordinate: Coordinate, compartment: str, consumer: TaskTry | None) -> Verdict:
        """Whether this consumer may pull, before any key is asked for.

        Nothing here is known to be true yet: the head is authenticated when the payload is opened, the consumer
        is what the process says. An edited head opens nothing, whatever was decided on it.

        :param compartment: the compartment that the reference's head names.
        :raises CompartmentUnknown: no compartment takes the XCom's DAG.
        """
        own = self.resolve(coordinate)
        if own.name != compartment:
            return Verdict(
                own,
                "compartment",
                CompartmentUnknown(
                    f"the reference is of compartment {compartment!r:.70}, the XCom belongs to {own.name!r}",
                    where=str(coordinate),
                    remedy="clear the producing task if its DAG was moved to another compartment; else look for "
                    "who wrote this row",
                ),
            )
        if not self._consumers_known:
            return Verdict(own, "single")
        if consumer is None:
            what = "the consumer is not known here, so it cannot be allowed"
            return Verdict(own, "consumer", AccessRefused(what, where=str(coordinate)))
        theirs = self.resolve_dag(consumer.dag_id)
        if theirs is not None:
            # A DAG that only bears the name of one of theirs is not one of theirs, for no rule.
            origin = Origin.of(consumer, consumer.dag_id)
            wrong = mismatch(theirs, consumer.dag_id, origin, where=str(coordinate))
            if wrong is not None:
                return Verdict(own, f"consumer.{wrong.field}", wrong.refusal)
        if theirs is own:
            return Verdict(own, "own")
        return judge(own, coordinate, consumer, None if theirs is None else theirs.name)


def _any(globs: Sequence[str], text: str) -> bool:
    return any(matches(glob, text) for glob in globs)


def read_bytes(path: str) -> bytes:
    """The bytes of a policy file.

    :raises PolicyInvalid: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PolicyInvalid(
            f"the file cannot be read ({type(error).__name__})",
            where=path,
            remedy="name a file that is there and readable",
        ) from None


def _with_defaults(compartment: Compartment, inherited: dict[str, object]) -> Compartment:
    update = {name: value for name, value in inherited.items() if getattr(compartment, name) is None}
    return compartment.model_copy(update=update) if update else compartment
