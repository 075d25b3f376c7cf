"""Lint: stores and key services that the file or the environment accesses over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from secure_xcom.connections.connection_ids import connection_id, variable
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_HTTP = re.compile(r"http://[^\s/]+", re.IGNORECASE)
_HERE = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?", re.IGNORECASE)
# The address of a service without a connection: Vault's variable, AWS's for all and for each service.
_DEFAULTS = {
    "vault": ("VAULT_ADDR",),
    "vault-kv": ("VAULT_ADDR",),
    "aws-kms": ("AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"),
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
}


def findings(policy: AccessPolicy, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Return the findings about connections to services."""
    told: dict[str, tuple[str, str] | None] = {}
    for index, compartment in enumerate(policy.compartments):
        for uri, path in _uris(compartment, ("compartments", index)):
            if uri not in told:
                told[uri] = _plain(uri, environment)
            faults = told[uri]
            if faults is None:
                continue
            address, source = faults
            scheme = uri.partition("://")[0]
            what = "the key service" if scheme in ("vault", "aws-kms") else "the store"
            if _HERE.fullmatch(address):
                yield lint_finding(
                    "plain-http", "ok", path, f"{what} is reached over http on this machine ({source})"
                )
            else:
                yield lint_finding(
                    "plain-http",
                    "warning",
                    path,
                    f"{what} is reached over http ({source}): anyone on the path can read and change all of it",
                    "write https://",
                )


def _uris(compartment: Compartment, path: Path) -> Iterator[tuple[str, Path]]:
    yield from ((uri, (*path, "key_uris", number)) for number, uri in enumerate(compartment.key_uris))
    yield compartment.store_uri, (*path, "store_uri")
    yield from (
        (uri, (*path, "former_store_uris", number)) for number, uri in enumerate(compartment.former_store_uris)
    )
    for place, route in enumerate(compartment.routes):
        route_path = (*path, "routes", place)
        yield route.store_uri, (*route_path, "store_uri")
        yield from ((uri, (*route_path, "key_uris", number)) for number, uri in enumerate(route.key_uris or ()))


def _plain(uri: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the HTTP address and its source, or None. Nothing else of a connection is read or kept."""
    scheme, _, rest = uri.partition("://")
    _, _, query = rest.partition("?")
    for name, value in parse_qsl(query):
        if name == "endpoint":
            return _http(value, "option endpoint")
    conn_id = connection_id(uri)
    if conn_id is not None:
        name = variable(conn_id)
        return _http(_address(environment[name]), name) if name in environment else None
    for name in _DEFAULTS.get(scheme, ()):
        if name in environment:
            return _http(environment[name], name)
    return None


def _http(address: str, source: str) -> tuple[str, str] | None:
    match = _HTTP.match(address)
    return (match.group(), source) if match else None


def _address(text: str) -> str:
    """Return the address of an Airflow connection, from its JSON or URI; empty for the cloud's own address."""
    try:
        if text.lstrip().startswith("{"):
            fields = json.loads(text)
            kind, host, extra = fields.get("conn_type"), fields.get("host"), fields.get("extra") or {}
            extra = json.loads(extra) if isinstance(extra, str) else extra
        else:
            parts = urlsplit(text)
            options = dict(parse_qsl(parts.query))
            kind, host = parts.scheme, unquote(parts.hostname or "")
            extra = json.loads(options["__extra__"]) if "__extra__" in options else options
    except (ValueError, AttributeError):
        # Whoever uses the connection reports what is wrong with it.
        return ""
    extra = extra if isinstance(extra, dict) else {}
    if kind in ("vault", "vaults", "http", "https"):
        # As in VaultHook: without use_tls, a connection of type `vault` uses HTTP.
        tls = kind in ("vaults", "https")
        if "use_tls" in extra:
            tls = str(extra["use_tls"]).lower() in ("true", "1", "t", "y", "yes", "on")
        return f"{'https' if tls else 'http'}://{host}"
    services = extra.get("service_config")
    configs = [extra, *(services.values() if isinstance(services, dict) else ())]
    urls = [
        str(config["endpoint_url"])
        for config in configs
        if isinstance(config, dict) and config.get("endpoint_url")
    ]
    return next((url for url in urls if url.lower().startswith("http:")), "")
