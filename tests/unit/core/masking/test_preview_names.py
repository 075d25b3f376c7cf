"""What a row says of secrets in its value: by the key, and by the preview's field names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.preview_names import has_sensitive_name
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames

NAMES = SensitiveNames(DEFAULT_NAMES)
SECRET: list[Any] = [{"rows": [{"id": 1, "login": {"api_key": "k-1234567"}}]}, {"dbPassword": "pw-1234567"}]


@pytest.mark.parametrize("mode", ["shape", "masked"])
@pytest.mark.parametrize("value", SECRET)
def test_a_preview_with_a_sensitive_field_is_seen(mode: str, value: object) -> None:
    """Whatever the preview shows, a sensitive field in it is seen."""
    picture = preview(value, mode=mode, names=NAMES, key="return_value", max_bytes=2048)
    assert has_sensitive_name("return_value", json.loads(json.dumps(picture)), NAMES)


@pytest.mark.parametrize("mode", ["shape", "masked", "none"])
def test_the_key_alone_is_enough(mode: str) -> None:
    """A sensitive key needs no preview."""
    picture = preview("v-1234567", mode=mode, names=NAMES, key="api_token", max_bytes=2048)
    assert has_sensitive_name("api_token", picture, NAMES)


def test_plain_rows_are_not_sensitive() -> None:
    """Neither the key nor a field name says that anything is secret."""
    picture = preview({"rows": 3, "names": ["a", "b"]}, mode="masked", names=NAMES, key="rows", max_bytes=2048)
    assert not has_sensitive_name("return_value", picture, NAMES)
    assert not has_sensitive_name("return_value", None, NAMES)


def test_a_hostile_preview_counts_as_sensitive() -> None:
    """A preview of more parts than a push writes counts as sensitive; a deep one takes no recursion."""
    deep: object = "x"
    for _ in range(10_000):
        deep = [deep]
    assert not has_sensitive_name("return_value", deep, NAMES)
    assert has_sensitive_name("return_value", [0] * 30_000, NAMES)
