"""What every key service promises: a class of tests that each service's own test file inherits.

A subclass gives two fixtures: ``service``, a `KeyService` with a fresh wrapping key, and ``other``, a service of
the same kind with another wrapping key; and ``rotate(service)``, which makes a new version of the wrapping key.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence

import pytest

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import KeyServiceError, UnwrapRefused
from secure_xcom.keys import WRAPPED_MAX_CHARACTERS, DataKey, KeyService, Wrap
from secure_xcom.ops.checks.key_services import check_key_service
from tests.support.doubles import MemoryKeyService

CONTEXT = encryption_context(
    "finance", Coordinate("invoices", "manual__2026-11-22", "extract", -1, "return_value")
)
OTHER_CONTEXT = encryption_context("finance", Coordinate("invoices", "manual__2026-11-22", "load", 3, "rows"))
UNUSUAL_CONTEXT = encryption_context("größe/β", Coordinate("a/b", 'run "x"\n\t\\', "töst.\U0001f600", 0, "key"))


def opened(answer: DataKey | KeyServiceError) -> bytes:
    """The data key's bytes; a test that meets an error here shows that error."""
    if isinstance(answer, KeyServiceError):
        raise answer
    return answer.secret


class KeyServiceContract:
    """See the module's text. ``MANY`` is the size of the largest batch that is tried."""

    MANY = 1000

    def rotate(self, service: KeyService) -> None:
        """Make a new version of the wrapping key. A subclass says how."""
        raise NotImplementedError

    def test_a_wrapped_key_comes_back(self, service: KeyService) -> None:
        """A data key that was wrapped is the same after unwrapping, also with unusual ids in the context."""
        for context in (CONTEXT, UNUSUAL_CONTEXT):
            key = DataKey.generate()
            wrapped = service.wrap(key, context)
            assert opened(service.unwrap_many([Wrap(wrapped, context)])[0]) == key.secret

    def test_a_wrap_is_short_text(self, service: KeyService) -> None:
        """A wrapped data key is printable ASCII of a bounded length and holds nothing of the key in clear."""
        key = DataKey.generate()
        wrapped = service.wrap(key, CONTEXT)
        assert wrapped.isascii()
        assert wrapped.isprintable()
        assert 0 < len(wrapped) <= WRAPPED_MAX_CHARACTERS
        assert key.secret.hex() not in wrapped

    def test_wraps_of_one_key_differ(self, service: KeyService) -> None:
        """The same data key is never wrapped to the same text twice, so equal keys cannot be told from outside."""
        key = DataKey.generate()
        assert len({service.wrap(key, CONTEXT) for _ in range(4)}) == 4

    @pytest.mark.parametrize("name", sorted(CONTEXT))
    def test_every_part_of_the_context_is_bound(self, service: KeyService, name: str) -> None:
        """A wrap does not open when any one of the five names of its encryption context has another value."""
        wrapped = service.wrap(DataKey.generate(), CONTEXT)
        changed = {**CONTEXT, name: "7" if name == "map_index" else CONTEXT[name] + "x"}
        assert isinstance(service.unwrap_many([Wrap(wrapped, changed)])[0], UnwrapRefused)

    def test_parts_of_the_context_are_kept_apart(self, service: KeyService) -> None:
        """Characters moved from one id to the next give another context, and the wrap does not open."""
        left = {**CONTEXT, "dag_id": "ab", "task_id": "c"}
        right = {**CONTEXT, "dag_id": "a", "task_id": "bc"}
        wrapped = service.wrap(DataKey.generate(), left)
        assert isinstance(service.unwrap_many([Wrap(wrapped, right)])[0], UnwrapRefused)

    def test_order_is_kept_and_duplicates_are_answered(self, service: KeyService) -> None:
        """Answers stand in the order of the questions, and the same wrap asked twice is answered twice."""
        pairs = [(DataKey.generate(), context) for context in (CONTEXT, OTHER_CONTEXT, UNUSUAL_CONTEXT)]
        wraps = [Wrap(service.wrap(key, context), context) for key, context in pairs]
        order = [2, 0, 1, 0, 2, 2]
        answers = service.unwrap_many([wraps[index] for index in order])
        assert [opened(answer) for answer in answers] == [pairs[index][0].secret for index in order]

    def test_nothing_asked_nothing_answered(self, service: KeyService) -> None:
        """An empty list gives an empty list."""
        assert service.unwrap_many([]) == []
        assert service.rewrap_many([]) == []

    def test_many_at_once(self, service: KeyService) -> None:
        """A long list is answered entry by entry."""
        keys = [DataKey.generate() for _ in range(8)]
        wraps = [Wrap(service.wrap(key, CONTEXT), CONTEXT) for key in keys]
        order = [(index * 3) % len(keys) for index in range(self.MANY)]
        answers = service.unwrap_many([wraps[index] for index in order])
        assert [opened(answer) for answer in answers] == [keys[index].secret for index in order]

    def test_a_failure_stands_in_its_place(self, service: KeyService) -> None:
        """One bad entry of a batch answers with its own error and spares the others, for unwrap and for rewrap."""
        key = DataKey.generate()
        good = Wrap(service.wrap(key, CONTEXT), CONTEXT)
        moved = Wrap(good.wrapped, OTHER_CONTEXT)
        broken = Wrap("not a wrapped key", CONTEXT)
        wraps = [moved, good, broken, good]
        unwrapped = service.unwrap_many(wraps)
        assert [isinstance(answer, KeyServiceError) for answer in unwrapped] == [True, False, True, False]
        assert opened(unwrapped[1]) == opened(unwrapped[3]) == key.secret
        rewrapped = service.rewrap_many(wraps)
        assert [isinstance(answer, KeyServiceError) for answer in rewrapped] == [True, False, True, False]

    def test_rewrap_keeps_key_and_context(self, service: KeyService) -> None:
        """After a rotation a rewrap gives another text that opens to the same key, in the same context only."""
        pairs = [(DataKey.generate(), context) for context in (CONTEXT, OTHER_CONTEXT)]
        old = [Wrap(service.wrap(key, context), context) for key, context in pairs]
        self.rotate(service)
        new = _texts(service.rewrap_many(old))
        assert set(new).isdisjoint(wrap.wrapped for wrap in old)
        answers = service.unwrap_many([Wrap(text, context) for text, (_, context) in zip(new, pairs, strict=True)])
        assert [opened(answer) for answer in answers] == [key.secret for key, _ in pairs]
        assert isinstance(service.unwrap_many([Wrap(new[0], OTHER_CONTEXT)])[0], UnwrapRefused)

    def test_rotation_keeps_old_wraps_open(self, service: KeyService) -> None:
        """What was wrapped before a rotation opens after it, and new wraps open as well."""
        key = DataKey.generate()
        before = Wrap(service.wrap(key, CONTEXT), CONTEXT)
        self.rotate(service)
        after = Wrap(service.wrap(key, CONTEXT), CONTEXT)
        assert [opened(answer) for answer in service.unwrap_many([before, after])] == [key.secret, key.secret]

    def test_wraps_of_another_key_are_refused(self, service: KeyService, other: KeyService) -> None:
        """A wrap made by another wrapping key of the same service does not open, and is not rewrapped."""
        foreign = Wrap(other.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        assert isinstance(service.unwrap_many([foreign])[0], KeyServiceError)
        assert isinstance(service.rewrap_many([foreign])[0], KeyServiceError)

    def test_malformed_wraps_are_refused(self, service: KeyService) -> None:
        """Text that is not a whole, unedited wrapped key is refused entry by entry, with an error of our tree."""
        good = service.wrap(DataKey.generate(), CONTEXT)
        middle = len(good) // 2
        edited = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
        malformed = [
            "",
            " ",
            "\x00",
            "größe",
            "A" * WRAPPED_MAX_CHARACTERS,
            edited,
            good[:middle],
            good[4:],
            good + "A",
            good + good,
            good[::-1],
            good.replace(":", ";") if ":" in good else good[1:],
        ]
        answers = service.unwrap_many([Wrap(text, CONTEXT) for text in malformed])
        assert [type(answer) for answer in answers if not isinstance(answer, KeyServiceError)] == []
        assert len(answers) == len(malformed)

    def test_errors_and_logs_carry_no_key(self, service: KeyService, caplog: pytest.LogCaptureFixture) -> None:
        """Neither a refusal, nor a log line, nor any repr holds the data key or the wrapped data key."""
        caplog.set_level(logging.DEBUG)
        key = DataKey.generate()
        wrap = Wrap(service.wrap(key, CONTEXT), CONTEXT)
        refusal = service.unwrap_many([Wrap(wrap.wrapped, OTHER_CONTEXT)])[0]
        shown = " ".join([str(refusal), repr(refusal), repr(service), repr(wrap), repr(key), caplog.text])
        assert wrap.wrapped not in shown
        assert key.secret.hex() not in shown
        assert repr(key.secret) not in shown

    def test_refusals_travel_between_processes(self, service: KeyService) -> None:
        """A refusal survives pickling with its text, because executors send errors to other processes."""
        wrapped = service.wrap(DataKey.generate(), CONTEXT)
        refusal = service.unwrap_many([Wrap(wrapped, OTHER_CONTEXT)])[0]
        sent = pickle.loads(pickle.dumps(refusal))  # noqa: S301  # Our own bytes, pickled one line above.
        assert str(sent) == str(refusal)

    def test_a_healthy_key_checks_without_errors(self, service: KeyService) -> None:
        """The check of a service of ours that works has something to say and finds no error."""
        findings = check_key_service(service)
        assert findings or isinstance(service, MemoryKeyService)
        assert [finding for finding in findings if finding.status == "error"] == []


def _texts(answers: Sequence[str | KeyServiceError]) -> list[str]:
    texts = [answer for answer in answers if isinstance(answer, str)]
    assert len(texts) == len(answers)
    return texts
