"""``vault://CONN_ID/MOUNT/keys/NAME``: a wrapping key of Vault's (or OpenBao's) transit engine.

URI: CONN_ID is an Airflow connection of type Vault, with any auth method of Airflow's `VaultHook`, or
``default`` for the environment. MOUNT may contain slashes. With ``?grant=scoped`` at the end, every request is a
single one, as needed for an identity whose policy is limited by ``allowed_parameters`` (Vault policies do not
inspect batches). Without it, unwraps are sent in batches.

Environment: with ``default``, ``VAULT_ADDR`` and ``VAULT_TOKEN`` or the agent's token file, ``VAULT_NAMESPACE``
and ``VAULT_CACERT``.

Permissions: ``update`` (never ``create``, which makes keys) on ``MOUNT/encrypt/NAME`` to push, on
``MOUNT/decrypt/NAME`` to pull, on ``MOUNT/rewrap/NAME`` to rewrap. The key is ``derived``: a wrap opens only with
the encryption context that it was made with, in the form of `secure_xcom.keys.vault_context`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from secure_xcom.connections.vault.client import VaultClient, vault_client
from secure_xcom.connections.vault.http import Answer
from secure_xcom.core.errors import KeyServiceError, KeyVersionUnknown, UnwrapRefused
from secure_xcom.core.reference import URI_MAX_CHARACTERS
from secure_xcom.core.vault_errors import VaultDenied, VaultTrouble
from secure_xcom.keys import DATA_KEY_BYTES, DataKey, Wrap, transit_errors
from secure_xcom.keys.vault_batches import batches, results_of
from secure_xcom.keys.vault_context import proof_context, transit_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SINGLES_AT_ONCE = 8
"""The most concurrent single requests of a scoped grant."""

_URI = re.compile(
    r"vault://(?P<conn>[A-Za-z0-9_.-]{1,200})/(?P<mount>[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)"
    r"/keys/(?P<name>\w(?:[\w.-]*\w)?)(?:\?grant=(?P<grant>whole|scoped))?",
    re.ASCII,
)
# Leading zeros and v0, an alias of v1, would give one wrap several texts. No wrap of 32 bytes is over 1,024.
_WRAPPED = re.compile(r"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{16,1000}={0,2}")
# Base64 of nothing: Go's decoder skips the newline. Transit treats it as a given context. Then a derived key
# rejects the missing bytes, while any other key encrypts.
_NO_CONTEXT = "\n"

Result = TypeVar("Result")


def split_uri(uri: str) -> tuple[str, str, str, bool]:
    """Return the connection id, mount and key name of a key URI, and whether its grant is scoped.

    :raises UriInvalid: it is invalid.
    """
    form = _URI.fullmatch(uri)
    if form is None or len(uri) > URI_MAX_CHARACTERS:
        from secure_xcom.keys.vault_uri_faults import not_vault

        raise not_vault(uri)
    return form["conn"], form["mount"], form["name"], form["grant"] == "scoped"


class VaultTransit:
    """The key service of one transit key: see the module's docstring. Thread-safe.

    The constructor looks up the connection. The first request to Vault is the first wrap or unwrap.

    :raises UriInvalid: the URI is invalid.
    :raises ConfigurationError: the connection or the environment cannot be used.
    """

    def __init__(self, uri: str) -> None:
        self.conn_id, self.mount, self.name, self.scoped = split_uri(uri)
        self.uri = uri
        self.client: VaultClient = vault_client(self.conn_id)
        self._proved_bound = False

    def __repr__(self) -> str:
        return f"VaultTransit({self.uri!r})"

    def path(self, operation: str) -> str:
        """Return the path of an operation on this key, below ``/v1/``."""
        return f"{self.mount}/{operation}/{self.name}"

    # --- wrap -----------------------------------------------------------------------------------------------

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the newest version of the key.

        The first wrap of a process also checks, in the same request, that the key is derived.

        :raises KeyUnbound: it is not derived; :raises KeyServiceError: Vault did not wrap.
        """
        entry = {"plaintext": base64.b64encode(data_key.secret).decode(), "context": _encoded(context)}
        with self._translated("encrypt"):
            alone = self.scoped or self._proved_bound
            answer = self._single("encrypt", entry) if alone else self._proving(entry)
        wrapped = answer.get("ciphertext")
        if not isinstance(wrapped, str) or not _WRAPPED.fullmatch(wrapped):
            raise KeyServiceError("Vault's response has no wrapped data key", where=self.uri)
        return wrapped

    def _proving(self, entry: Mapping[str, str]) -> Mapping[str, Any]:
        """Wrap, and in the same batch encrypt without a context: only a derived key refuses that."""
        bare = {"plaintext": base64.b64encode(bytes(DATA_KEY_BYTES)).decode(), "context": _NO_CONTEXT}
        body = {"batch_input": [entry, bare], "partial_failure_response_code": 200}
        answer = self.client.call("POST", self.path("encrypt"), body)
        results = results_of(answer, 2)
        if results is None:
            # A server that refuses such a batch gets two requests instead.
            if answer.status != 400 or "key not found" in " ".join(answer.errors).lower():
                raise self._refusal(answer)
            if self.client.call("POST", self.path("encrypt"), {"plaintext": bare["plaintext"]}).ok:
                raise transit_errors.unbound(self.uri)
            results = [self._single("encrypt", entry)]
        elif "error" not in results[1]:
            raise transit_errors.unbound(self.uri)
        if failed := results[0].get("error"):
            raise transit_errors.of_entry(str(failed), self.uri)
        self._proved_bound = True
        return results[0]

    # --- unwrap, rewrap -------------------------------------------------------------------------------------

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each, in order. The same wrap is requested once.

        :raises KeyServiceError: Vault as a whole cannot answer.
        """
        return self._many("decrypt", wraps, self._data_key)

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """Rewrap each with the newest version of the key. The data keys do not leave Vault.

        :raises KeyServiceError: Vault as a whole cannot answer.
        """
        return self._many("rewrap", wraps, self._rewrapped)

    def _many(
        self, operation: str, wraps: Sequence[Wrap], read: Callable[[Mapping[str, Any]], Result | KeyServiceError]
    ) -> list[Result | KeyServiceError]:
        asked = [(wrap.wrapped, _encoded(wrap.context)) for wrap in wraps]
        malformed = UnwrapRefused("the wrapped data key is not of the form vault:vN:BASE64", where=self.uri)
        answers: dict[tuple[str, str], Result | KeyServiceError] = {}
        entries: list[dict[str, str]] = []
        for wrapped, context in dict.fromkeys(asked):
            if _WRAPPED.fullmatch(wrapped):
                entries.append({"ciphertext": wrapped, "context": context})
            else:
                answers[wrapped, context] = malformed
        with self._translated(operation):
            for entry, result in self._asked(operation, entries):
                answers[entry["ciphertext"], entry["context"]] = (
                    result if isinstance(result, KeyServiceError) else read(result)
                )
        return [answers[pair] for pair in asked]

    def _asked(
        self, operation: str, entries: Sequence[dict[str, str]]
    ) -> Iterator[tuple[dict[str, str], Mapping[str, Any] | KeyServiceError]]:
        if self.scoped:
            first = self._prove_scoped(operation, entries)
            rest = entries[len(first) :]
            yield from zip(entries, first, strict=False)
            if rest:
                with ThreadPoolExecutor(SINGLES_AT_ONCE, thread_name_prefix="vault") as threads:
                    answers = threads.map(lambda entry: self._alone(operation, entry), rest)
                    yield from zip(rest, answers, strict=True)
            return
        for batch in batches(entries):
            yield from self._batch(operation, batch)

    def _batch(
        self, operation: str, batch: Sequence[dict[str, str]]
    ) -> Iterator[tuple[dict[str, str], Mapping[str, Any] | KeyServiceError]]:
        body: dict[str, Any] = {"batch_input": batch}
        if operation == "decrypt":
            # Otherwise one bad entry makes the whole response a 400, which looks like a failing request.
            body["partial_failure_response_code"] = 200
        answer = self.client.call("POST", self.path(operation), body)
        results = results_of(answer, len(batch))
        if results is not None:
            for entry, result in zip(batch, results, strict=True):
                failed = result.get("error")
                yield entry, transit_errors.of_entry(str(failed), self.uri) if failed else result
        elif len(batch) > 1 and "complexity" in " ".join(answer.errors):
            # The listener's limits are lower than usual (max_request_json_strings, max_request_json_memory).
            yield from self._batch(operation, batch[: len(batch) // 2])
            yield from self._batch(operation, batch[len(batch) // 2 :])
        else:
            raise self._refusal(answer)

    def _prove_scoped(
        self, operation: str, entries: Sequence[dict[str, str]]
    ) -> list[Mapping[str, Any] | KeyServiceError]:
        """Check once per process that a wrap does not open in the context of another run of its task.

        With a key that is not derived, a policy that is limited by the context would exclude nobody. The response
        for the first entry is returned, so nothing is requested twice. `audit reconcile` knows the context of the
        other run.
        """
        if self._proved_bound or not entries:
            return []
        entry = entries[0]
        elsewhere = {**entry, "context": proof_context(entry["context"])}
        answer = self._alone(operation, entry)
        if isinstance(answer, KeyServiceError):
            return [answer]
        if not isinstance(self._alone(operation, elsewhere), KeyServiceError):
            raise transit_errors.unbound(self.uri)
        self._proved_bound = True
        return [answer]

    def _alone(self, operation: str, entry: Mapping[str, str]) -> Mapping[str, Any] | KeyServiceError:
        """Send one entry by itself: a refusal of a scoped grant concerns this entry only."""
        try:
            return self._single(operation, entry)
        except VaultDenied:
            return self._denied(operation)
        except (UnwrapRefused, KeyVersionUnknown) as error:
            return error

    def _single(self, operation: str, entry: Mapping[str, str]) -> Mapping[str, Any]:
        answer = self.client.call("POST", self.path(operation), entry)
        if not answer.ok:
            raise self._refusal(answer)
        return answer.data

    def _data_key(self, result: Mapping[str, Any]) -> DataKey | KeyServiceError:
        try:
            secret = base64.b64decode(str(result.get("plaintext")), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != DATA_KEY_BYTES:
            return UnwrapRefused("the wrapped bytes are not a data key", where=self.uri)
        return DataKey(secret)

    def _rewrapped(self, result: Mapping[str, Any]) -> str | KeyServiceError:
        wrapped = result.get("ciphertext")
        if not isinstance(wrapped, str) or not _WRAPPED.fullmatch(wrapped):
            return KeyServiceError("Vault's response has no wrapped data key", where=self.uri)
        return wrapped

    # --- errors ------------------------------------------------------------------------------------

    def _refusal(self, answer: Answer) -> KeyServiceError:
        return transit_errors.of_answer(answer, self.uri, self.mount, self.client.server.namespace)

    def _denied(self, operation: str) -> KeyServiceError:
        path = self.path(operation)
        held: list[str] | None
        try:
            # A scoped grant always has `update`, so a request for each entry would be wasted.
            held = ["update"] if self.scoped else self.client.capabilities([path])[path]
        except VaultTrouble:
            held = None
        return transit_errors.denied(
            self.uri,
            path,
            held,
            namespace=self.client.server.namespace,
            scoped=self.scoped,
            makes_keys=operation == "encrypt",
        )

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        try:
            yield
        except VaultDenied:
            raise self._denied(operation) from None
        except VaultTrouble as trouble:
            raise transit_errors.of_trouble(trouble, self.uri) from None


def _encoded(context: Mapping[str, str]) -> str:
    return base64.b64encode(transit_context(context)).decode()
