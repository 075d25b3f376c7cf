"""``vault://CONN_ID/MOUNT/keys/NAME``: a wrapping key of Vault's (or OpenBao's) transit engine.

CONN_ID is an Airflow connection of type Vault, with any auth method of Airflow's `VaultHook`; or ``default`` for
``VAULT_ADDR`` and ``VAULT_TOKEN`` or the agent's token file. MOUNT may have slashes in it. A URI may end in
``?grant=scoped``: then every request is a single one, as an identity needs whose policy is limited by
``allowed_parameters`` (Vault's policies do not see into batches); without it unwraps go in batches.

Permissions: ``update`` (never ``create``, which makes keys) on ``MOUNT/encrypt/NAME`` to push, on
``MOUNT/decrypt/NAME`` to pull, on ``MOUNT/rewrap/NAME`` to rewrap. The key is ``derived``: a wrap opens only with
the encryption context that it was made with, laid out as `secure_xcom.keys.vault_context` says.
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
from secure_xcom.core.errors import (
    KeyServiceError,
    KeyVersionUnknown,
    UnwrapRefused,
    UriInvalid,
    VaultDenied,
    VaultTrouble,
)
from secure_xcom.keys import DATA_KEY_BYTES, DataKey, Wrap, vault_errors
from secure_xcom.keys.vault_batches import batches, results_of
from secure_xcom.keys.vault_context import proof_context, transit_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SINGLES_AT_ONCE = 8
"""How many single requests of a scoped grant are under way at a time."""

_URI = re.compile(
    r"vault://(?P<conn>[A-Za-z0-9_.-]{1,200})/(?P<mount>[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)"
    r"/keys/(?P<name>\w(?:[\w.-]*\w)?)(?:\?grant=(?P<grant>whole|scoped))?",
    re.ASCII,
)
# It is a part of every reference, and a reference stays under 2 KiB.
_URI_MAX_CHARACTERS = 512
# Leading zeros and the alias v0 of v1 would give one wrap several texts. Over 1,024 no version holds 32 bytes.
_WRAPPED = re.compile(r"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{16,1000}={0,2}")
# Base64 of nothing: Go's decoder skips the line end. Transit counts it as a context that is given, and then a
# derived key misses its bytes while another key encrypts.
_NO_CONTEXT = "\n"

Result = TypeVar("Result")


def split_uri(uri: str) -> tuple[str, str, str, bool]:
    """The connection id, the mount and the key's name of a key URI, and whether its grant is scoped.

    :raises UriInvalid: it has another form.
    """
    form = _URI.fullmatch(uri)
    if form is None or len(uri) > _URI_MAX_CHARACTERS:
        raise UriInvalid(
            "not a Vault key URI", where=f"key URI {uri!r:.200}", remedy="use vault://CONN_ID/MOUNT/keys/NAME"
        )
    return form["conn"], form["mount"], form["name"], form["grant"] == "scoped"


class VaultTransit:
    """The key service of one transit key: see the module's text. Safe to be used by several threads.

    The connection is looked up when it is made; Vault is first asked when there is something to wrap.

    :raises UriInvalid: the URI has another form.
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
        """The path of an operation on this key, below ``/v1/``."""
        return f"{self.mount}/{operation}/{self.name}"

    # --- wrap -----------------------------------------------------------------------------------------------

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the newest version of the key.

        The first wrap of a process proves in the same request that the key is derived.

        :raises KeyUnbound: it is not; :raises KeyServiceError: Vault did not wrap.
        """
        entry = {"plaintext": base64.b64encode(data_key.secret).decode(), "context": _encoded(context)}
        with self._in_our_words("encrypt"):
            alone = self.scoped or self._proved_bound
            answer = self._single("encrypt", entry) if alone else self._proving(entry)
        wrapped = answer.get("ciphertext")
        if not isinstance(wrapped, str) or not _WRAPPED.fullmatch(wrapped):
            raise KeyServiceError("Vault's answer holds no wrapped data key", where=self.uri)
        return wrapped

    def _proving(self, entry: Mapping[str, str]) -> Mapping[str, Any]:
        """Wrap, and in the same batch wrap nothing without a context: only a derived key refuses that."""
        bare = {"plaintext": base64.b64encode(bytes(DATA_KEY_BYTES)).decode(), "context": _NO_CONTEXT}
        body = {"batch_input": [entry, bare], "partial_failure_response_code": 200}
        answer = self.client.call("POST", self.path("encrypt"), body)
        results = results_of(answer, 2)
        if results is None:
            # A server that does not take such a batch is asked the same in two requests.
            if answer.status != 400 or "key not found" in " ".join(answer.errors).lower():
                raise self._refusal(answer)
            if self.client.call("POST", self.path("encrypt"), {"plaintext": bare["plaintext"]}).ok:
                raise vault_errors.unbound(self.uri)
            results = [self._single("encrypt", entry)]
        elif "error" not in results[1]:
            raise vault_errors.unbound(self.uri)
        if failed := results[0].get("error"):
            raise vault_errors.of_entry(str(failed), self.uri)
        self._proved_bound = True
        return results[0]

    # --- unwrap, rewrap -------------------------------------------------------------------------------------

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each, in order; the same wrap is asked for once.

        :raises KeyServiceError: Vault as a whole cannot answer.
        """
        return self._many("decrypt", wraps, self._data_key)

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """Wrap each anew with the newest version of the key. The data keys do not leave Vault.

        :raises KeyServiceError: Vault as a whole cannot answer.
        """
        return self._many("rewrap", wraps, self._rewrapped)

    def _many(
        self, operation: str, wraps: Sequence[Wrap], read: Callable[[Mapping[str, Any]], Result | KeyServiceError]
    ) -> list[Result | KeyServiceError]:
        asked = [(wrap.wrapped, _encoded(wrap.context)) for wrap in wraps]
        malformed = UnwrapRefused("the wrapped data key is not of transit's form vault:vN:BASE64", where=self.uri)
        answers: dict[tuple[str, str], Result | KeyServiceError] = {}
        entries: list[dict[str, str]] = []
        for wrapped, context in dict.fromkeys(asked):
            if _WRAPPED.fullmatch(wrapped):
                entries.append({"ciphertext": wrapped, "context": context})
            else:
                answers[wrapped, context] = malformed
        with self._in_our_words(operation):
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
            # Else one bad entry makes a 400 of the whole, which operators would see as failing requests.
            body["partial_failure_response_code"] = 200
        answer = self.client.call("POST", self.path(operation), body)
        results = results_of(answer, len(batch))
        if results is not None:
            for entry, result in zip(batch, results, strict=True):
                failed = result.get("error")
                yield entry, vault_errors.of_entry(str(failed), self.uri) if failed else result
        elif len(batch) > 1 and "complexity" in " ".join(answer.errors):
            # This listener takes less than is usual (max_request_json_strings, max_request_json_memory).
            yield from self._batch(operation, batch[: len(batch) // 2])
            yield from self._batch(operation, batch[len(batch) // 2 :])
        else:
            raise self._refusal(answer)

    def _prove_scoped(
        self, operation: str, entries: Sequence[dict[str, str]]
    ) -> list[Mapping[str, Any] | KeyServiceError]:
        """Ask once per process for a wrap in the context of another run of its task, which must not open.

        With a key that is not derived, a policy that is limited by the context would keep nobody out. What the
        first entry gave is the answer for it: nothing is asked for twice, and `audit reconcile` knows the context
        of the other run.
        """
        if self._proved_bound or not entries:
            return []
        entry = entries[0]
        elsewhere = {**entry, "context": proof_context(entry["context"])}
        answer = self._alone(operation, entry)
        if isinstance(answer, KeyServiceError):
            return [answer]
        if not isinstance(self._alone(operation, elsewhere), KeyServiceError):
            raise vault_errors.unbound(self.uri)
        self._proved_bound = True
        return [answer]

    def _alone(self, operation: str, entry: Mapping[str, str]) -> Mapping[str, Any] | KeyServiceError:
        """One entry by itself: what a scoped grant refuses concerns this entry only."""
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
            return UnwrapRefused("what was wrapped is no data key", where=self.uri)
        return DataKey(secret)

    def _rewrapped(self, result: Mapping[str, Any]) -> str | KeyServiceError:
        wrapped = result.get("ciphertext")
        if not isinstance(wrapped, str) or not _WRAPPED.fullmatch(wrapped):
            return KeyServiceError("Vault's answer holds no wrapped data key", where=self.uri)
        return wrapped

    # --- what went wrong ------------------------------------------------------------------------------------

    def _refusal(self, answer: Answer) -> KeyServiceError:
        return vault_errors.of_answer(answer, self.uri, self.mount, self.client.server.namespace)

    def _denied(self, operation: str) -> KeyServiceError:
        path = self.path(operation)
        held: list[str] | None
        try:
            # A scoped grant holds `update` in any case; that is not worth a request for each entry.
            held = ["update"] if self.scoped else self.client.capabilities([path])[path]
        except VaultTrouble:
            held = None
        return vault_errors.denied(
            self.uri,
            path,
            held,
            namespace=self.client.server.namespace,
            scoped=self.scoped,
            makes_keys=operation == "encrypt",
        )

    @contextmanager
    def _in_our_words(self, operation: str) -> Iterator[None]:
        try:
            yield
        except VaultDenied:
            raise self._denied(operation) from None
        except VaultTrouble as trouble:
            raise vault_errors.of_trouble(trouble, self.uri) from None


def _encoded(context: Mapping[str, str]) -> str:
    return base64.b64encode(transit_context(context)).decode()
