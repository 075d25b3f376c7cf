"""Keep obstore from reading the environment behind the configuration that it is given.

obstore starts every client from the variables ``AWS_*``, ``GOOGLE_*`` and ``AZURE_*`` (object_store,
``AmazonS3Builder::from_env``). What has a value that changes nothing is passed explicitly. The few variables below
have none: a type of encryption cannot be unset again. While a client is made, they hold a byte that is not UTF-8,
which object_store passes over.

`os.environ` keeps its values, since only the process's own table of variables is changed, and an existing entry is
replaced there in one step (``setenv``), so that other threads read the one or the other value.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from secure_xcom.core.per_process import PerProcess

_UNREADABLE = b"\xff"
_WITHOUT_NEUTRAL_VALUE = frozenset(
    {
        "AWS_CHECKSUM_ALGORITHM",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AZURE_STORAGE_ENCRYPTION_KEY",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "SERVICE_ACCOUNT",
    }
)
# One thread at a time, or one would put back what another still hides. A child has a lock of its own.
_making = PerProcess(threading.Lock)


@contextmanager
def hidden_from_obstore() -> Iterator[None]:
    """Hide the variables that have no neutral value. For the making of a client only, which makes no request."""
    # object_store looks for names by their capital prefix, and takes the rest in any case.
    names = [name for name in os.environ if name.upper() in _WITHOUT_NEUTRAL_VALUE]
    if not names:
        yield
        return
    with _making.get():
        try:
            for name in names:
                os.putenv(name, _UNREADABLE)
            yield
        finally:
            _put_back()


def _put_back() -> None:
    for name in os.environ:
        if name.upper() in _WITHOUT_NEUTRAL_VALUE:
            os.putenv(name, os.environ[name])


# A child may have been forked by another thread while they were hidden.
os.register_at_fork(after_in_child=_put_back)
