"""What a push that fails does with the payloads that it has put."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from secure_xcom.core.errors import StoreError
from secure_xcom.stores import Store

log = logging.getLogger(__name__)


def delete_again(open_store: Callable[[str], Store], paths: Mapping[str, Sequence[str]]) -> None:
    """Delete payloads that no reference names, by store URI; a warning says what is left to gc."""
    for store_uri, of_store in paths.items():
        try:
            failures = open_store(store_uri).delete_many(of_store)
        except StoreError as refused:
            failures = [refused]
        for failure in filter(None, failures):
            log.warning("A payload that no reference names stays behind until gc: %s", failure)
