"""Telling Airflow's secrets masker, in this process and in the one that supervises it.

A task's log lines are masked by its supervisor, its rendered template fields by itself. Both masks are one
regular expression of all secrets, which Airflow compiles anew for every string of a list: 19 s for 1,000
strings of 24 characters. So the patterns are put in place first, compiled once (20 ms), and Airflow's own
call, which then finds nothing new, only passes them on.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from secure_xcom.core.errors import ExtraMissing
from secure_xcom.core.masking.secrets_of_value import Secrets
from secure_xcom.core.per_process import PerProcess

log = logging.getLogger(__name__)


class _LongestFirst(set[str]):
    """Patterns in the order in which a regular expression has to try them.

    Airflow joins a plain set: where one secret begins with another, chance decides whether the longer one is
    hidden whole or shows its end.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__(), key=lambda pattern: (-len(pattern), pattern)))


def register(secrets: Secrets) -> None:
    """Register strings with Airflow's masker, in one call; a warning says how many the cap left out.

    Inside a task this blocks until the supervisor has answered, so that every later line is masked. From
    async code it has to run in a thread that is not the event loop's: there ``CommsDecoder.send`` waits for
    its turn; on the event loop's thread it gives up (airflow/sdk/execution_time/comms.py).

    :raises ExtraMissing: Airflow has no such masker.
    """
    if secrets.values:
        try:
            from airflow.sdk._shared.secrets_masker import _secrets_masker
            from airflow.sdk.log import mask_secret
        except ImportError:
            raise ExtraMissing(
                "this Airflow has no secrets masker that secure_xcom knows", remedy="use Airflow 3.1 or later"
            ) from None
        compile_once(_secrets_masker(), secrets.values)
        mask_secret(list(secrets.values))
    if secrets.dropped:
        log.warning(
            "%d strings were not registered with the secrets masker and may appear in logs: the limit is reached. "
            "What to do: raise [secure_xcom] mask_max_values, or push smaller values.",
            secrets.dropped,
        )


def compile_once(masker: Any, strings: Sequence[object]) -> None:
    """Give a masker the patterns of many strings with one compilation, longest first.

    Which strings count, and as what, is asked of an empty masker of the same class and settings. A masker of
    a shape that is not known here is left alone, and Airflow's own call does the work, slowly.

    :param masker: Airflow's SecretsMasker.
    """
    with _lock.get():
        known = getattr(masker, "patterns", None)
        if not isinstance(known, set) or not hasattr(masker, "replacer"):
            return
        trial = type(masker)()
        trial.__dict__.update({name: value for name, value in vars(masker).items() if name not in _STATE})
        patterns = _LongestFirst(known)
        before = len(patterns)
        for string in strings:
            if isinstance(string, str) and re.escape(string) not in known:
                # Emptied each time, because its regular expression grows with it.
                trial.patterns = set()
                trial.add_mask(string)
                patterns.update(trial.patterns)
        if len(patterns) > before:
            masker.patterns = patterns
            masker.replacer = re.compile("|".join(patterns))


# What a masker learns; everything else are its settings. add_mask is there once a supervisor's was wrapped.
_STATE = frozenset({"patterns", "replacer", "add_mask"})
# Pulls of async code come from several threads, and the later one must not undo the earlier one's patterns.
_lock = PerProcess(threading.Lock)
