"""Scenarios of attempts and iterations: heads that name them, rows that were exchanged, and claims in a loop."""

from __future__ import annotations

from tests.vectors.build import Edit, Vector, drop_row, error, pulled, set_head, value

ATTEMPT = "019be2a1-0000-7000-8000-00000000000a"
OTHER = "019be2a1-0000-7000-8000-00000000000b"
REGION = "019be2a1-0000-7000-8000-0000000000f0"
LOOPED = {"attempt": ATTEMPT, "region": REGION, "region_index": "2", "iteration": "2"}
MAPPED = {"map_index": "0", "attempt": ATTEMPT, "region": REGION, "region_index": "0", "iteration": "2"}


def asked_for(**parts: object) -> Edit:
    """Ask for an attempt or an iteration."""

    def edit(vector: Vector) -> None:
        vector["asked"].update(parts)

    return edit


def _looped(title: str, expect: Vector, edit: Edit, head: dict[str, str] | None = None) -> Vector:
    return pulled(title, expect, head=LOOPED if head is None else head, edit=edit)


def vectors() -> dict[str, Vector]:
    """All of them."""
    mismatch, tampered, malformed = error("AttemptMismatch"), error("HeadTampered"), error("ReferenceMalformed")
    made = {
        "pull-attempt": _looped("A value of the task instance that asks.", value(), asked_for(attempt=ATTEMPT)),
        "pull-attempt-outside": _looped(
            "A value whose head names an attempt outside of loops.",
            value(),
            asked_for(attempt=ATTEMPT, iteration=2),
            {"attempt": ATTEMPT},
        ),
        "pull-iteration": _looped("A value of the iteration that was asked for.", value(), asked_for(iteration=2)),
        "pull-iteration-any": _looped("A value of any iteration.", value(), asked_for()),
        "pull-iteration-mapped": _looped(
            "A value of a mapped task in a loop.", value(), asked_for(iteration=2), MAPPED
        ),
        "pull-iteration-alone": _looped(
            "A value that one task of a loop made for another.",
            value(),
            asked_for(iteration=2),
            {"iteration": "2"},
        ),
        "pull-attempt-unknown": _looped(
            "A head without an attempt, as older releases write it, opens for whichever is asked for.",
            value(),
            asked_for(attempt=ATTEMPT, iteration=2),
            {},
        ),
        "refused-asked-other-attempt": _looped(
            "A reference of another attempt of the task that asks.", mismatch, asked_for(attempt=OTHER)
        ),
        "refused-asked-other-iteration": _looped(
            "A reference of another iteration.", mismatch, asked_for(iteration=1)
        ),
        "refused-asked-other-iteration-mapped": _looped(
            "A reference of the same map index in another iteration.", mismatch, asked_for(iteration=0), MAPPED
        ),
        "refused-region-without-index": _looped(
            "A region without an index in it.", malformed, asked_for(), {"attempt": ATTEMPT, "region": REGION}
        ),
        "refused-index-without-region": _looped(
            "An index in no region.", malformed, asked_for(), {"attempt": ATTEMPT, "region_index": "2"}
        ),
    }
    for name, text in (("attempt", OTHER), ("region", OTHER), ("region_index", "3"), ("iteration", "3")):
        label = name.replace("_", "-")
        made[f"refused-head-{label}-edited"] = _looped(
            f"A head whose {name} was edited to what was asked for.",
            tampered,
            set_head(name, text, asked=name in ("attempt", "iteration")),
        )
    for name in ("attempt", "iteration"):
        made[f"refused-head-{name}-dropped"] = _looped(
            f"A head whose {name} was taken away.", tampered, drop_row("head", name)
        )
    for name, text in (
        ("attempt", ATTEMPT.upper()),
        ("region", REGION.replace("-", "")),
        ("region_index", "02"),
        ("iteration", "-1"),
    ):
        made[f"refused-head-{name.replace('_', '-')}-odd"] = _looped(
            f"A head whose {name} is not in its canonical form.", malformed, asked_for(), {**LOOPED, name: text}
        )
    made["refused-head-iteration-large"] = _looped(
        "An iteration beyond those that Airflow counts.",
        malformed,
        asked_for(),
        {**LOOPED, "iteration": "2147483648"},
    )
    return made
