"""What a compartment derives from its fields: routes, retention, places, and all of its keys and stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from secure_xcom.core.access_policy.compartment import Compartment, KeyRetention, Reader, Route, RunOn, Viewer


def compartment(**fields: Any) -> Compartment:
    """A compartment with one key and one store."""
    base = {"name": "finance", "dags": ("f",), "key_uris": ("memory-key://f",), "store_uri": "memory://f"}
    return Compartment(**{**base, **fields})


@pytest.mark.parametrize(
    ("route", "key", "sensitive", "takes"),
    [
        ({"keys": ("*_token",)}, "api_token", False, True),
        ({"keys": ("*_token",)}, "api_token", True, True),
        ({"keys": ("*_token",)}, "other", True, False),
        ({"sensitive": True}, "other", True, True),
        ({"sensitive": True}, "other", False, False),
        ({"keys": ("*_token",), "sensitive": True}, "other", True, True),
        ({"keys": ("*_token",), "sensitive": True}, "api_token", False, True),
        ({"keys": ("*_token",), "sensitive": True}, "other", False, False),
        ({}, "other", True, False),
    ],
)
def test_a_route_takes_its_keys_and_what_is_sensitive(
    route: dict[str, Any], key: str, sensitive: bool, takes: bool
) -> None:
    """Each by itself is enough, and a route without either takes nothing."""
    assert Route(store_uri="memory://r", **route).takes(key, sensitive=sensitive) is takes


def test_the_first_retention_that_names_a_key_counts() -> None:
    """Then the compartment's own, and without either an XCom has no end."""
    entries = (
        KeyRetention(keys=("a*",), retention="1h"),
        KeyRetention(keys=("ab", "c"), retention="2d"),
    )
    made = compartment(retention="5m", retention_of=entries)
    assert [made.lasts(key) for key in ("ab", "c", "x")] == [3600, 172_800, 300]
    assert made.retention_seconds == 300
    assert compartment(retention_of=entries).lasts("x") is None
    assert compartment().retention_seconds is None


def test_places_are_the_fields_that_are_given() -> None:
    """In a fixed order, whichever they are."""
    every: dict[str, Any] = {
        "run_as_user": "u",
        "queue": "q",
        "service_account": "sa",
        "pool": "p",
        "executor": "E",
    }
    named = [("queue", "q"), ("pool", "p"), ("executor", "E"), ("service_account", "sa"), ("run_as_user", "u")]
    assert RunOn(**every).places == tuple(named)
    for field, value in named:
        assert RunOn.model_validate({field: value}).places == ((field, value),)
    assert RunOn(queue="q").refuse_elsewhere is True


def test_exclusive_keys_are_globs() -> None:
    """Without any nothing is exclusive."""
    made = compartment(exclusive=("*_token", "otp"))
    assert [made.is_exclusive(key) for key in ("api_token", "otp", "otps")] == [True, True, False]
    assert not compartment().is_exclusive("otp")
    assert made.exclusive_rerun is True


def test_all_keys_and_stores_are_listed_once_in_order() -> None:
    """Its own, then those of its routes, then the former ones, which nothing is written to."""
    routes = (
        Route(keys=("a",), store_uri="memory://a", key_uris=("memory-key://a", "memory-key://f")),
        Route(keys=("b",), store_uri="memory://f"),
        Route(keys=("c",), store_uri="memory://c", key_uris=("memory-key://c",)),
    )
    made = compartment(routes=routes, former_store_uris=("memory://old", "memory://a"))
    assert made.written_store_uris == ("memory://f", "memory://a", "memory://c")
    assert made.all_store_uris == ("memory://f", "memory://a", "memory://c", "memory://old")
    assert made.all_key_uris == ("memory-key://f", "memory-key://a", "memory-key://c")


def test_what_is_not_given_matches_all_or_limits_nothing() -> None:
    """The defaults of each field, which a policy file relies on."""
    anybody = ("*",)
    assert Reader().model_dump() == {
        "compartment": None, "dags": anybody, "tasks": anybody, "of_dags": anybody, "of_tasks": anybody,
    }  # fmt: skip
    assert Viewer(group="g").model_dump() == {"group": "g", "dags": anybody, "tasks": anybody}
    assert Route(store_uri="memory://r").model_dump() == {
        "keys": None, "sensitive": None, "store_uri": "memory://r", "key_uris": None,
    }  # fmt: skip
    bare = compartment().model_dump(exclude={"name", "dags", "key_uris", "store_uri", "exclusive_rerun"})
    assert {value for value in bare.values() if value not in ((), None)} == set()
    assert Compartment(name="f", key_uris=("memory-key://f",), store_uri="memory://f").dags == ()


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("key_uris", 1, 8),
        ("former_store_uris", 0, 8),
        ("viewers", 0, 1000),
        ("routes", 0, 32),
        ("retention_of", 0, 32),
        ("bundles", 1, None),
        ("teams", 1, None),
    ],
)
def test_lists_have_limits(field: str, least: int, most: int | None) -> None:
    """What is at a limit is taken, and what is beyond it refused."""

    def of(length: int) -> tuple[Any, ...]:
        makers: dict[str, Callable[[int], Any]] = {
            "key_uris": lambda n: f"memory-key://k{n}",
            "former_store_uris": lambda n: f"memory://s{n}",
            "viewers": lambda n: Viewer(group=f"g{n}"),
            "routes": lambda n: Route(keys=(f"k{n}",), store_uri=f"memory://r{n}"),
            "retention_of": lambda n: KeyRetention(keys=(f"k{n}",), retention="1h"),
        }
        maker = makers.get(field, "name{}".format)
        return tuple(maker(number) for number in range(length))

    assert len(getattr(compartment(**{field: of(least)}), field)) == least
    if least:
        with pytest.raises(ValidationError):
            compartment(**{field: of(least - 1)})
    if most is not None:
        assert len(getattr(compartment(**{field: of(most)}), field)) == most
        with pytest.raises(ValidationError):
            compartment(**{field: of(most + 1)})


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (Reader, "dags"),
        (Reader, "tasks"),
        (Reader, "of_dags"),
        (Reader, "of_tasks"),
        (Viewer, "dags"),
        (Viewer, "tasks"),
        (Route, "keys"),
        (Route, "key_uris"),
        (KeyRetention, "keys"),
    ],
)
def test_an_empty_list_is_refused(model: Any, field: str) -> None:
    """It would match nothing, or everything; nobody can mean it."""
    fields: dict[Any, dict[str, Any]] = {
        Viewer: {"group": "g"},
        Route: {"store_uri": "memory://r"},
        KeyRetention: {"keys": ("k",), "retention": "1h"},
    }
    needed = fields.get(model, {})
    with pytest.raises(ValidationError):
        model(**{**needed, field: ()})
    one = ("memory-key://k",) if field == "key_uris" else ("k",)
    assert getattr(model(**{**needed, field: one}), field) == one


def test_a_route_has_at_most_eight_keys() -> None:
    """As many as a reference may have."""
    keys = tuple(f"memory-key://k{number}" for number in range(9))
    assert len(Route(store_uri="memory://r", key_uris=keys[:8]).key_uris or ()) == 8
    with pytest.raises(ValidationError):
        Route(store_uri="memory://r", key_uris=keys)


@pytest.mark.parametrize(("size", "taken"), [(0, False), (1, True), (1 << 40, True), ((1 << 40) + 1, False)])
def test_the_largest_value_is_between_a_byte_and_a_tebibyte(size: int, taken: bool) -> None:
    """More would be no limit."""
    if taken:
        assert compartment(max_bytes=size).max_bytes == size
        return
    with pytest.raises(ValidationError):
        compartment(max_bytes=size)


@pytest.mark.parametrize("value", ["named", "all", "none"])
def test_ways_to_mask_are_three(value: Any) -> None:
    """Another word is refused."""
    assert compartment(mask_values=value).mask_values == value
    with pytest.raises(ValidationError):
        compartment(mask_values=f"{value}s")


def test_only_true_makes_a_route_of_sensitive_xcoms() -> None:
    """A false would read as if it took the others."""
    with pytest.raises(ValidationError):
        Route(store_uri="memory://r", sensitive=False)  # type: ignore[arg-type]
