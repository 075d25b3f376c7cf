"""Load what a deployment configures: the adapter that a URI's scheme names, or the codec that a head names.

Each room has one table, from a name to ``module:factory``. Nothing else of the package is imported by a text
(docs/adr/0072).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def load(table: Mapping[str, str], name: str) -> Any:
    """Return the factory that a table has under a name, or None.

    :param table: a name -> ``module:factory``.
    """
    if name not in table:
        return None
    module, _, factory = table[name].partition(":")
    return getattr(import_module(module), factory)
