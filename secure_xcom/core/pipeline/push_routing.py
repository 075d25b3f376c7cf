"""Where a push goes: the compartment, keys, store and masking of one value. Decisions only, no IO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from secure_xcom.core import clock
from secure_xcom.core.codecs import Encoded
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import ValueTooLarge
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.reference import ROUTES_KEY, TIME_FORMAT

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Rules


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an XCom goes, with which keys, and when it expires.

    :ivar routed: a route of the compartment names the store, so the payload never stays in the reference.
    :ivar exclusive: one task instance only may read it: its data key is its own, and its payload an object.
    :ivar created: now, and :ivar expires: when its retention is over; as references have times.
    """

    compartment: str
    store_uri: str
    key_uris: tuple[str, ...]
    routed: bool
    created: str
    expires: str | None
    exclusive: bool = False


def destination(
    compartment: Rules,
    encoded: Encoded,
    coordinate: Coordinate,
    names: SensitiveNames,
    *,
    marked: bool = False,
    max_bytes: int,
) -> Destination:
    """Check a value against its compartment's limit, and choose its store and keys: the first route that takes it.

    :param marked: its DAG marks it as exclusive.
    :param max_bytes: the deployment's limit.
    :raises ValueTooLarge: it is over the deployment's limit or the compartment's.
    """
    option = "[secure_xcom] max_bytes"
    if compartment.max_bytes is not None and compartment.max_bytes < max_bytes:
        option, max_bytes = f"max_bytes of compartment {compartment.name!r}", compartment.max_bytes
    if encoded.size > max_bytes:
        raise ValueTooLarge(
            f"the encoded value has {encoded.size} bytes, {option} is {max_bytes}", where=str(coordinate)
        )
    key = coordinate.key
    sensitive = False
    # A whole value is searched for secrets only where a route asks.
    if any(route.sensitive for route in compartment.routes):
        from secure_xcom.core.masking.walk import holds_sensitive

        sensitive = holds_sensitive(encoded.structure, names=names, key=key)
    route = next((route for route in compartment.routes if route.takes(key, sensitive=sensitive)), None)
    now = clock.now()
    lasts = compartment.lasts(key)
    return Destination(
        compartment.name,
        compartment.store_uri if route is None else route.store_uri,
        (None if route is None else route.key_uris) or compartment.key_uris,
        routed=route is not None,
        created=now.strftime(TIME_FORMAT),
        expires=None if lasts is None else (now + timedelta(seconds=lasts)).strftime(TIME_FORMAT),
        # What a branching task says is read by Airflow's scheduler as well, over and over and without a key.
        exclusive=(marked or compartment.is_exclusive(key)) and key != ROUTES_KEY,
    )


def mask_mode(compartments: Iterable[Rules | None], mode: str) -> str:
    """Return which values to register with Airflow's masker: the strictest mode of any of several compartments.

    :param compartments: None for a plain value.
    :param mode: the deployment's, where a compartment does not say.
    """
    modes = {(compartment and compartment.mask_values) or mode for compartment in compartments}
    return next((mode for mode in ("all", "named") if mode in modes), "none")
