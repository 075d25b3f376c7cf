"""Compare what a store sends while a variable of the environment is set with what it sends without it."""

from __future__ import annotations

import re

import pytest

from secure_xcom.stores import store
from tests.support.obstore_variables import variables
from tests.support.servers.faulty_proxy import FaultyProxy

# One byte more than a single request takes, so that the cloud's own SDK puts it.
LARGE = {"large": [b"x" * ((8 << 20) + 1)]}
SMALL = {"small": [b"sealed"]}
_ONE_TIME = re.compile(r"((?:uploadid|blockid|upload_id)=)[^&]+", re.IGNORECASE)
_IDENTITY = re.compile(r"Credential=([^/]+)/\d+/([^,]+)|(Bearer .*)|(SharedKey [^:]+)")
_VALUES = ("host", "user-agent", "content-type", "x-amz-storage-class", "x-ms-access-tier", "x-goog-storage-class")


def requests_of(uri: str, proxy: FaultyProxy, payloads: dict[str, list[bytes]]) -> list[object]:
    """Put, get and delete each payload; return every request, as comparable values."""
    proxy.seen.clear()
    proxy.headers.clear()
    opened = store(uri)
    for path, payload in payloads.items():
        opened.put(path, payload)
        assert b"".join(opened.get(path)) == payload[0]
        assert opened.delete_many([path]) == [None]
    return sorted(map(_comparable, proxy.seen, proxy.headers), key=str)


def _comparable(line: str, headers: dict[str, str]) -> object:
    lower = {name.lower(): value for name, value in headers.items()}
    identity = _IDENTITY.search(lower.get("authorization", ""))
    signed = re.sub(r"sig=[^&]+", "sig=*", _ONE_TIME.sub(r"\1*", line))
    values = {name: re.sub(r"multipart/mixed.*", "batch", lower.get(name, "")) for name in _VALUES}
    return signed, sorted(lower), identity.groups() if identity else None, sorted(values.items())


def assert_no_variable_matters(
    prefix: str,
    uri: str,
    configured: FaultyProxy,
    elsewhere: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    *,
    without: frozenset[str] = frozenset(),
) -> None:
    """Set each variable that obstore knows, one by one and all together: the store sends the same requests to the
    same place.

    :param elsewhere: where the variables lead: in front of the same server, so that nothing would fail there.
    :param without: variables that the store's own configuration is made of.
    """
    hostile = {name: value for name, value in variables(prefix, elsewhere.endpoint).items() if name not in without}
    # A large payload takes long, and its client is the SDK, so it is put once with all of them.
    cases = [({name: value}, SMALL) for name, value in hostile.items()] + [(hostile, LARGE)]
    expected = {path: requests_of(uri, configured, {path: payload}) for path, payload in (SMALL | LARGE).items()}
    differing = []
    for environment, payloads in cases:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                if requests_of(uri, configured, payloads) != expected[next(iter(payloads))]:
                    differing.append(f"{', '.join(environment)}: the requests differ")
            except Exception as error:  # noqa: BLE001  # every variable that matters is to be named
                differing.append(f"{', '.join(environment)}: {error!s:.300}")
    assert not differing, "\n".join(differing)
    assert not elsewhere.seen
