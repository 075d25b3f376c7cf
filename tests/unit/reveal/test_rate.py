"""The rate limit of one person."""

from __future__ import annotations

from secure_xcom.reveal.rate import PER_MINUTE, RateLimit


def test_a_window_slides() -> None:
    """A request is allowed again a minute after the one that it takes the place of."""
    now = 0.0
    limit = RateLimit(now=lambda: now)
    for number in range(PER_MINUTE):
        now = float(number)
        assert limit.count("ana") is None
    first, second = limit.count("ana"), limit.count("ana")
    assert first is not None
    assert second is not None
    assert (first.first, second.first) == (True, False)
    assert first.error.remedy == "wait 52 seconds"
    now = 60.5
    assert limit.count("ana") is None
    again = limit.count("ana")
    assert again is not None
    assert again.first


def test_the_memory_is_bounded() -> None:
    """Of many persons those who asked last are known."""
    limit = RateLimit(now=lambda: 0.0, persons_max=2)
    for _ in range(PER_MINUTE):
        limit.count("ana")
    assert limit.count("ana") is not None
    limit.count("bob")
    limit.count("cid")
    assert limit.count("ana") is None
