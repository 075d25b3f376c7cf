"""Every route through Vault to a data key, or to a payload in KV: raw requests with a hostile worker's login."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import hvac
import requests
from hvac.exceptions import VaultError

from tests.proof.odd_bodies import DECRYPT, QUERIES

_POLICY = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'
_OPERATIONS = ("decrypt", "rewrap", "encrypt", "datakey/plaintext", "datakey/wrapped", "hmac", "sign", "verify")


def rows(connection: dict[str, Any], job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Try them all."""
    yield from _Client(connection, job).rows()


class _Client:
    def __init__(self, connection: dict[str, Any], job: dict[str, Any]) -> None:
        self.address = f"http://{connection['host']}:{connection['port']}"
        self.job = job
        login = {"role_id": connection["login"], "secret_id": connection["password"]}
        self.auth = connection["extra"]["auth_mount_point"]
        answer = requests.post(f"{self.address}/v1/auth/{self.auth}/login", json=login, timeout=10).json()
        self.token = answer["auth"]["client_token"]
        self.hvac = hvac.Client(url=self.address, token=self.token)

    def rows(self) -> Iterator[dict[str, Any]]:
        for wrap in self.job["wraps"]:
            yield from self._opening(wrap)
        yield from self._of_keys()
        yield from self._upwards()
        yield from self._kv()

    def _opening(self, wrap: dict[str, str]) -> Iterator[dict[str, Any]]:
        mount, key = self.job["mount"], self.job["key"]
        texts = {
            "wrap": wrap["wrapped"],
            "theirs": wrap["context"],
            "mine": self.job["mine"],
            "short": wrap["context"][:64],
            "quoted": quote(wrap["context"], safe=""),
        }
        for number, body in enumerate(DECRYPT):
            for query in QUERIES:
                yield self._send(
                    f"decrypt, odd body {number}{query[:14]}",
                    "POST",
                    f"{mount}/decrypt/{key}{query % texts}",
                    body % texts,
                )
        right = {"ciphertext": wrap["wrapped"], "context": wrap["context"]}
        yield self._hvac(
            "decrypt", lambda: self.hvac.secrets.transit.decrypt_data(key, mount_point=mount, **right)
        )
        yield self._hvac(
            "decrypt in a batch",
            lambda: self.hvac.secrets.transit.decrypt_data(key, "", batch_input=[right], mount_point=mount),
        )
        yield self._hvac("rewrap", lambda: self.hvac.secrets.transit.rewrap_data(key, mount_point=mount, **right))
        plain = base64.b64encode(bytes(32)).decode()
        for operation in _OPERATIONS:
            single: dict[str, Any] = {**right, "plaintext": plain, "input": plain}
            for form, asked in (("alone", single), ("in a batch", {"batch_input": [single]})):
                path = f"{mount}/{operation}/{key}"
                yield self._send(f"{operation} {form}", "POST", path, json.dumps(asked))
        whole = json.dumps(right)
        own = self.job["own_key"]
        for path in (
            f"{mount}/decrypt//{key}", f"{mount}/decrypt/./{key}", f"{mount}/decrypt/{own}/../{key}",
            f"{mount}/decrypt/%2e%2e/decrypt/{key}", f"{mount}/decrypt/{key}/", f"{mount}/decrypt/{key.upper()}",
            f"{mount}/Decrypt/{key}", f"{mount}//decrypt/{key}", f"/{mount}/decrypt/{key}",
            f"{mount}/decrypt/{key}%00", f"{mount}/decrypt/{own}%2f..%2f{key}", f"{mount}/decrypt/{key};x",
            f"sys/../{mount}/decrypt/{key}", f"cubbyhole/../{mount}/decrypt/{key}",
        ):  # fmt: skip
            yield self._send(f"decrypt at {path.replace(mount, 'M')}", "POST", path, whole)
        for name, value in (
            ("X-Vault-Wrap-TTL", "60"), ("X-Vault-Namespace", "root"), ("X-Vault-Namespace", ""),
            ("X-Vault-Policy-Override", "true"), ("X-HTTP-Method-Override", "PUT"), ("X-Vault-MFA", "x:y"),
            ("X-Forwarded-For", "127.0.0.1"), ("Content-Type", "application/merge-patch+json"),
        ):  # fmt: skip
            yield self._send(
                f"decrypt with {name} {value}", "POST", f"{mount}/decrypt/{key}", whole, {name: value}
            )
        for method in ("PUT", "PATCH", "GET", "LIST", "DELETE"):
            yield self._send(f"decrypt by {method}", method, f"{mount}/decrypt/{key}", whole)
        # Its own key is its own to use, and no use: another key made the wrap.
        yield self._send("decrypt with its own key", "POST", f"{mount}/decrypt/{own}", whole)

    def _of_keys(self) -> Iterator[dict[str, Any]]:
        mount, key = self.job["mount"], self.job["key"]
        asks: list[tuple[str, str, str, Any]] = [
            ("read the key", "GET", f"keys/{key}", None),
            ("list keys", "LIST", "keys", None),
            *(
                (f"export {kind}", "GET", f"export/{kind}/{key}", None)
                for kind in ("encryption-key", "signing-key", "hmac-key")
            ),
            ("export a version", "GET", f"export/encryption-key/{key}/1", None),
            ("byok export", "GET", f"byok-export/{key}/{key}", None),
            ("back up", "GET", f"backup/{key}", None),
            ("restore over", "POST", f"restore/{key}", {"backup": "x", "force": True}),
            ("restore beside", "POST", "restore/stolen", {"backup": "x"}),
            ("make a key", "POST", "keys/stolen", {"derived": True, "exportable": True}),
            ("make over", "POST", f"keys/{key}", {"exportable": True}),
            ("import over", "POST", f"keys/{key}/import", {"ciphertext": "x"}),
            (
                "make exportable",
                "POST",
                f"keys/{key}/config",
                {"exportable": True, "allow_plaintext_backup": True},
            ),
            ("allow deletion", "POST", f"keys/{key}/config", {"deletion_allowed": True}),
            ("raise the least version", "POST", f"keys/{key}/config", {"min_decryption_version": 99}),
            ("rotate", "POST", f"keys/{key}/rotate", {}),
            ("trim", "POST", f"keys/{key}/trim", {"min_available_version": 1}),
            ("delete", "DELETE", f"keys/{key}", None),
            ("upsert by encrypting", "POST", "encrypt/stolen", {"plaintext": "eA==", "context": "eA=="}),
            ("settings of keys", "POST", "config/keys", {"disable_upsert": False}),
            ("cache settings", "POST", "cache-config", {"size": 10}),
        ]
        for route, method, path, body in asks:
            yield self._send(route, method, f"{mount}/{path}", None if body is None else json.dumps(body))

    def _upwards(self) -> Iterator[dict[str, Any]]:
        auth, roles = self.auth, self.job["roles"]
        mine, theirs = roles["mine"], roles["theirs"]
        names = self.job["policies"]
        asks: list[tuple[str, str, str, Any]] = [
            ("make a token", "POST", "auth/token/create", {"policies": [names["theirs"]]}),
            ("make an orphan", "POST", "auth/token/create-orphan", {"policies": ["root"]}),
            ("make a token by a role", "POST", "auth/token/create/stolen", {}),
            ("make a token role", "POST", "auth/token/roles/stolen", {"allowed_policies": [names["theirs"]]}),
            ("list accessors", "LIST", "auth/token/accessors", None),
            ("read the policy", "GET", f"sys/policies/acl/{names['theirs']}", None),
            *(
                (f"write {which} policy", "PUT", f"sys/policies/acl/{names[which]}", {"policy": _POLICY})
                for which in names
            ),
            ("write it the old way", "PUT", f"sys/policy/{names['mine']}", {"policy": _POLICY}),
            ("write the default policy", "PUT", "sys/policies/acl/default", {"policy": _POLICY}),
            ("delete a policy", "DELETE", f"sys/policies/acl/{names['theirs']}", None),
            ("password policy", "PUT", "sys/policies/password/x", {"policy": "length=20"}),
            ("read their role id", "GET", f"auth/{auth}/role/{theirs}/role-id", None),
            ("make their secret id", "POST", f"auth/{auth}/role/{theirs}/secret-id", {}),
            ("make a secret id", "POST", f"auth/{auth}/role/{mine}/secret-id", {}),
            ("widen the role", "POST", f"auth/{auth}/role/{mine}", {"token_policies": [names["theirs"]]}),
            ("list roles", "LIST", f"auth/{auth}/role", None),
            ("enable a method", "POST", "sys/auth/stolen", {"type": "userpass"}),
            ("mount an engine", "POST", "sys/mounts/stolen", {"type": "transit"}),
            ("list mounts", "GET", "sys/mounts", None),
            ("move the mount", "POST", "sys/remount", {"from": self.job["mount"], "to": "stolen"}),
            ("unmount", "DELETE", f"sys/mounts/{self.job['mount']}", None),
            ("tune the mount", "POST", f"sys/mounts/{self.job['mount']}/tune", {"description": "x"}),
            ("read storage", "GET", "sys/raw/core/mounts", None),
            ("list audit devices", "GET", "sys/audit", None),
            ("make an audit device", "PUT", "sys/audit/x", {"type": "file", "options": {"file_path": "stdout"}}),
            ("make an entity", "POST", "identity/entity", {"name": "x", "policies": [names["theirs"]]}),
            ("take a snapshot", "GET", "sys/storage/raft/snapshot", None),
            ("seal", "PUT", "sys/seal", {}),
            ("capabilities of others", "POST", "sys/capabilities", {"token": self.token, "paths": ["sys/raw"]}),
        ]
        for route, method, path, body in asks:
            yield self._send(route, method, path, None if body is None else json.dumps(body))
        wrong = {"role_id": theirs, "secret_id": "00000000-0000-0000-0000-000000000000"}
        yield self._send("log in as them", "POST", f"auth/{auth}/login", json.dumps(wrong))

    def _kv(self) -> Iterator[dict[str, Any]]:
        mount, path = self.job["kv_mount"], self.job["kv_path"]
        below, own = path.split("/", 2)[2], path.replace("/finance/", "/sales/", 1)
        new = json.dumps({"data": {"payload": "x"}})
        for kind in ("data", "metadata", "subkeys"):
            for query in ("", "?version=1", "?version=0", "?list=true"):
                yield self._send(f"kv read {kind}{query}", "GET", f"{mount}/{kind}/{path}{query}")
        for folder in ("", "xcom", "xcom/finance", path.rpartition("/")[0]):
            yield self._send(f"kv list {folder[:12]}", "LIST", f"{mount}/metadata/{folder}")
            yield self._send(f"kv list by query {folder[:12]}", "GET", f"{mount}/metadata/{folder}?list=true")
        for route, method, at, body in (
            ("overwrite", "POST", f"data/{path}", new),
            ("patch", "PATCH", f"data/{path}", new),
            ("create beside", "POST", f"data/{path}-forged", new),
            ("delete", "DELETE", f"data/{path}", None),
            ("delete versions", "POST", f"delete/{path}", '{"versions": [1]}'),
            ("undelete", "POST", f"undelete/{path}", '{"versions": [1]}'),
            ("destroy", "POST", f"destroy/{path}", '{"versions": [1]}'),
            ("destroy all", "DELETE", f"metadata/{path}", None),
            ("change metadata", "POST", f"metadata/{path}", '{"max_versions": 1}'),
            ("settings", "POST", "config", '{"max_versions": 1}'),
            ("up and down", "GET", f"data/xcom/sales/../finance/{below}", None),
            ("up and down, encoded", "GET", f"data/xcom/sales/%2e%2e/finance/{below}", None),
            ("encoded slash", "GET", f"data/xcom/sales%2f..%2ffinance/{below}", None),
            ("two slashes", "GET", f"data//{path}", None),
            ("other case", "GET", f"Data/{path}", None),
            ("behind its own", "GET", f"data/{own}/../../../../../../finance/{below}", None),
        ):
            yield self._send(f"kv {route}", method, f"{mount}/{at}", body)

    def _send(
        self, route: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        wire = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=20)
        given = {"X-Vault-Token": self.token, "X-Vault-Request": "true", **(headers or {})}
        if method == "PATCH":
            given.setdefault("Content-Type", "application/merge-patch+json")
        try:
            # http.client sends a path as it is; others put its dots and slashes in order first.
            wire.request(method, f"/v1/{path}", body=body, headers=given)
            answer = wire.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status in (301, 307):
                wire.request(method, answer.headers["Location"], body=body, headers=given)
                answer = wire.getresponse()
                text += answer.read().decode(errors="replace")
        finally:
            wire.close()
        return {"wall": "vault", "route": route, "status": answer.status, "body": text}

    def _hvac(self, route: str, call: Any) -> dict[str, Any]:
        try:
            body = call()
        except VaultError as error:
            return {"wall": "vault", "route": f"hvac: {route}", "status": type(error).__name__, "body": str(error)}
        return {"wall": "vault", "route": f"hvac: {route}", "status": "opened", "body": repr(body)}
