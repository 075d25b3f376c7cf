"""List a store in a folder. Maintenance alone does so, and no task loads this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from secure_xcom.core import clock
from secure_xcom.core.errors import StoreError
from secure_xcom.stores import StoredObject
from secure_xcom.stores.files import STAGED

STAGED_HOURS = 24
"""The age from which a staged file is listed: then its writer is dead, and ``secure-xcom gc`` may delete it."""


def listed(root: str, prefix: str, error_of: Callable[[OSError, str], StoreError]) -> Iterator[StoredObject]:
    """Yield every object below a prefix, in no order.

    :param root: the store's folder; :param prefix: a checked prefix, without a trailing slash.
    :param error_of: returns the meaning of a failure at a path.
    :raises StoreError: a folder cannot be read.
    """
    folders = [prefix]
    stale = clock.now().timestamp() - STAGED_HOURS * 3600
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                for entry in entries:
                    below = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(below)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        if entry.name.startswith(STAGED) and status.st_mtime > stale:
                            continue
                        modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                        yield StoredObject(below, status.st_size, modified)
        except (FileNotFoundError, NotADirectoryError) as error:
            # A folder that was removed meanwhile has no objects; the store's own folder must exist.
            if not os.path.isdir(root):
                raise error_of(error, folder) from None
        except OSError as error:
            raise error_of(error, folder) from None
