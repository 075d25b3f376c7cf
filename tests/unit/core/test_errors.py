"""The text of an error is one line that can be written anywhere, whatever the URI or option in it holds."""

from __future__ import annotations

import pytest

from secure_xcom.core.errors import SettingInvalid
from secure_xcom.stores.bucket_uri import BucketUri


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("two\nlines", r"[two\nlines]"),
        ("\udcff", r"[\udcff]"),
        ("\u202etxt", r"[\u202etxt]"),
        ("größe", "[größe]"),
        ("", "no. What"),
    ],
)
def test_the_place_is_shown_on_one_line(where: str, shown: str) -> None:
    """A newline, a lone surrogate and a mark that turns text around are escaped; letters are not."""
    text = str(SettingInvalid("no", where=where, remedy=f"write {where}"))
    assert text.count(shown.strip("[]")) >= (2 if where else 1)
    assert shown in text
    assert text.isprintable()


def test_a_uri_from_the_environment_can_be_refused() -> None:
    """Bytes that are not UTF-8 reach a URI as lone surrogates, and its error can still be written."""
    with pytest.raises(Exception, match="not a s3 store URI") as refused:
        BucketUri.parse(b"\xff\n".decode("utf-8", "surrogateescape"), "s3")
    assert str(refused.value).encode()
