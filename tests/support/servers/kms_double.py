"""A double of AWS KMS on loopback, for what moto does not do: key states, pinned keys, multi-Region keys, dry
runs, refusals, and every way to misbehave.

It speaks the JSON protocol of botocore's service model. What it answers, and in which order it looks, is taken
from the KMS API's reference; it knows nothing of `secure_xcom`. All regions are one server: a request is for the
region that its signature names. Signatures are not verified.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import second_reader

if TYPE_CHECKING:
    from typing_extensions import Self

ACCOUNT = "111122223333"
_SCOPE = re.compile(r"Credential=([^/]+)/\d{8}/([a-z0-9-]+)/kms/aws4_request")


@dataclass
class Key:
    """A KMS key of one region."""

    arn: str
    materials: list[bytes] = field(repr=False)
    spec: str = "SYMMETRIC_DEFAULT"
    usage: str = "ENCRYPT_DECRYPT"
    state: str = "Enabled"
    rotates: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The key id at the end of the ARN."""
        return self.arn.rsplit("/", 1)[1]


class KmsRefusal(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    operation: str
    region: str
    access_key: str
    body: dict[str, Any]


Fault = Callable[["_Handler"], bool]
"""Misbehaves for one request; True where that was all of the answer."""


class KmsDouble:
    """See the module's text; a context manager.

    - ``faults``: what the next requests meet, one each, from the front;
    - ``allows``: a policy; a request for which it is False is answered with AccessDeniedException;
    - ``requests``: all requests, and ``count`` by operation;
    - ``together``: no answer before so many requests were under way at a time, or 45 seconds have passed;
    - ``delay``: how long each answer takes after that, in seconds; ``most_at_once``: requests under way at a time.
    """

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, str] = {}
        self.faults: list[Fault]
        self.allows: Callable[[Request], bool]
        self.requests: list[Request]
        self.together: int
        self.delay: float
        self.most_at_once: int
        self._at_once = 0
        self.calm()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        handler = type("Handler", (_Handler,), {"double": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calm(self) -> None:
        """Behave, and forget the requests. Keys stay."""
        self.faults, self.requests = [], []
        self.allows = lambda request: True
        self.together, self.delay, self.most_at_once = 0, 0.0, 0

    @property
    def count(self) -> Counter[str]:
        """How many requests of each operation came."""
        return Counter(request.operation for request in self.requests)

    # --- administration ---------------------------------------------------------------------------------------

    def create_key(self, region: str = "eu-west-1", *, multi_region: bool = False, **changes: Any) -> Key:
        """A new key."""
        name = f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())
        changes.setdefault("materials", [os.urandom(32)])
        key = Key(f"arn:aws:kms:{region}:{ACCOUNT}:key/{name}", **changes)
        self.keys[key.arn] = key
        return key

    def replicate(self, key: Key, region: str) -> Key:
        """The same key in another region."""
        parts = key.arn.split(":")
        parts[3] = region
        replica = Key(":".join(parts), key.materials)
        self.keys[replica.arn] = replica
        return replica

    def alias(self, name: str, key: Key) -> None:
        """Point an alias of the key's region at the key."""
        self.aliases[key.arn.split(":key/")[0] + f":alias/{name}"] = key.arn

    def rotate(self, key: Key) -> None:
        """New key material; what the old one sealed stays open."""
        key.materials.append(os.urandom(32))

    def next_fault(self, request: Request) -> Fault | None:
        """Note a request and say what it meets."""
        with self._lock:
            self.requests.append(request)
            return self.faults.pop(0) if self.faults else None

    # --- operations -------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> dict[str, Any]:
        """Answer, or raise a `KmsRefusal`."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._arrived.notify_all()
            self._arrived.wait_for(lambda: self.most_at_once >= self.together, timeout=45)
        try:
            time.sleep(self.delay)
            return _OPERATIONS[request.operation](self, request)
        finally:
            with self._lock:
                self._at_once -= 1

    def _key(self, request: Request, name: str) -> Key:
        arn = name
        if not arn.startswith("arn:"):
            path = name if name.startswith("alias/") else f"key/{name}"
            arn = f"arn:aws:kms:{request.region}:{ACCOUNT}:{path}"
        if arn.split(":")[3] != request.region:
            raise KmsRefusal("NotFoundException", f"Invalid arn {request.region}")
        if not self.allows(request):
            raise KmsRefusal("AccessDeniedException", f"User is not authorized to perform on {arn}")
        key = self.keys.get(self.aliases.get(arn, arn))
        if key is None:
            raise KmsRefusal("NotFoundException", f"{arn} is not found.")
        return key

    def _usable(self, request: Request, name: str) -> Key:
        key = self._key(request, name)
        if key.state == "Disabled":
            raise KmsRefusal("DisabledException", f"{key.arn} is disabled.")
        if key.state != "Enabled":
            words = {"PendingDeletion": "is pending deletion.", "PendingImport": "is pending import."}
            raise KmsRefusal("KMSInvalidStateException", f"{key.arn} {words.get(key.state, 'is unavailable.')}")
        if key.spec != "SYMMETRIC_DEFAULT" or key.usage != "ENCRYPT_DECRYPT":
            raise KmsRefusal("InvalidKeyUsageException", f"{key.arn} key usage is {key.usage}.")
        return key

    def _encrypt(self, request: Request) -> dict[str, Any]:
        key = self._usable(request, request.body["KeyId"])
        _not_dry(request)
        sealed = _sealed(
            key, base64.b64decode(request.body["Plaintext"]), request.body.get("EncryptionContext", {})
        )
        return {"KeyId": key.arn, "CiphertextBlob": _text(sealed), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _decrypt(self, request: Request) -> dict[str, Any]:
        key = self._usable(request, request.body["KeyId"])
        plain = _opened(request, key, request.body.get("EncryptionContext", {}))
        return {"KeyId": key.arn, "Plaintext": _text(plain), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _re_encrypt(self, request: Request) -> dict[str, Any]:
        source = self._usable(request, request.body["SourceKeyId"])
        target = self._usable(request, request.body["DestinationKeyId"])
        plain = _opened(request, source, request.body.get("SourceEncryptionContext", {}))
        sealed = _sealed(target, plain, request.body.get("DestinationEncryptionContext", {}))
        return {"KeyId": target.arn, "SourceKeyId": source.arn, "CiphertextBlob": _text(sealed)}

    def _describe(self, request: Request) -> dict[str, Any]:
        key = self._key(request, request.body["KeyId"])
        metadata = {
            "Arn": key.arn,
            "KeyId": key.id,
            "KeyState": key.state,
            "KeySpec": key.spec,
            "KeyUsage": key.usage,
            "KeyManager": "CUSTOMER",
            "Origin": "AWS_KMS",
            "MultiRegion": key.id.startswith("mrk-"),
        }
        return {"KeyMetadata": {**metadata, **key.more}}

    def _rotation(self, request: Request) -> dict[str, Any]:
        key = self._key(request, request.body["KeyId"])
        return {"KeyRotationEnabled": key.rotates, "KeyId": key.arn, "RotationPeriodInDays": 365}

    def _generate(self, request: Request) -> dict[str, Any]:
        key = self._usable(request, request.body["KeyId"])
        plain = bytes(request.body["NumberOfBytes"])
        sealed = _sealed(key, plain, request.body.get("EncryptionContext", {}))
        return {"KeyId": key.arn, "Plaintext": _text(plain), "CiphertextBlob": _text(sealed)}

    def _schedule_deletion(self, request: Request) -> dict[str, Any]:
        # An alias is no KeyId here.
        if request.body["KeyId"].startswith("alias/"):
            raise KmsRefusal("NotFoundException", "Invalid keyId")
        key = self._key(request, request.body["KeyId"])
        key.state = "PendingDeletion"
        return {
            "KeyId": key.arn,
            "KeyState": key.state,
            "PendingWindowInDays": request.body["PendingWindowInDays"],
        }

    def _policy(self, request: Request) -> dict[str, Any]:
        self._key(request, request.body["KeyId"])
        return {"Policy": "{}", "PolicyName": "default"}

    def _grants(self, request: Request) -> dict[str, Any]:
        self._key(request, request.body["KeyId"])
        return {"Grants": [], "Truncated": False}

    def _tags(self, request: Request) -> dict[str, Any]:
        self._key(request, request.body["KeyId"])
        return {"Tags": [], "Truncated": False}

    def _public(self, request: Request) -> dict[str, Any]:
        key = self._usable_to_sign(request)
        encoded = Ed25519PrivateKey.from_private_bytes(key.materials[0]).public_key()
        spki = encoded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"KeyId": key.arn, "PublicKey": _text(spki), "KeySpec": key.spec, "KeyUsage": key.usage}

    def _sign(self, request: Request) -> dict[str, Any]:
        key = self._usable_to_sign(request)
        asked = request.body["SigningAlgorithm"], request.body.get("MessageType", "RAW")
        # ED25519_SHA_512 takes the whole message; ED25519_PH_SHA_512 another scheme's digest.
        if asked != ("ED25519_SHA_512", "RAW"):
            raise KmsRefusal("ValidationException")
        made = Ed25519PrivateKey.from_private_bytes(key.materials[0])
        signature = made.sign(base64.b64decode(request.body["Message"]))
        return {"KeyId": key.arn, "Signature": _text(signature), "SigningAlgorithm": asked[0]}

    def _usable_to_sign(self, request: Request) -> Key:
        key = self._key(request, request.body["KeyId"])
        if (key.spec, key.usage) != ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"):
            raise KmsRefusal("InvalidKeyUsageException")
        return key


_OPERATIONS: dict[str, Callable[[KmsDouble, Request], dict[str, Any]]] = {
    "Encrypt": KmsDouble._encrypt,
    "Decrypt": KmsDouble._decrypt,
    "ReEncrypt": KmsDouble._re_encrypt,
    "DescribeKey": KmsDouble._describe,
    "GetKeyRotationStatus": KmsDouble._rotation,
    "GenerateDataKey": KmsDouble._generate,
    "ScheduleKeyDeletion": KmsDouble._schedule_deletion,
    "GetKeyPolicy": KmsDouble._policy,
    "ListGrants": KmsDouble._grants,
    "ListResourceTags": KmsDouble._tags,
    "GetPublicKey": KmsDouble._public,
    "Sign": KmsDouble._sign,
}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bound(context: dict[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


def _not_dry(request: Request) -> None:
    if request.body.get("DryRun"):
        raise KmsRefusal("DryRunOperationException", "The request would have succeeded, but DryRun was set.", 412)


def _sealed(key: Key, plain: bytes, context: dict[str, str]) -> bytes:
    sealed = second_reader.seal(key.materials[-1], _bound(context), plain, os.urandom(second_reader.SALT_BYTES))
    name = key.id.encode()
    return struct.pack(">B", len(name)) + name + sealed


def _opened(request: Request, key: Key, context: dict[str, str]) -> bytes:
    if request.body.get("DryRun") and request.body.get("DryRunModifiers") == ["IGNORE_CIPHERTEXT"]:
        _not_dry(request)
    blob = base64.b64decode(request.body["CiphertextBlob"])
    name, sealed = blob[1 : 1 + blob[0]], blob[1 + blob[0] :]
    if not re.fullmatch(rb"[a-z0-9-]{36}", name):
        raise KmsRefusal("InvalidCiphertextException")
    if name != key.id.encode():
        raise KmsRefusal("IncorrectKeyException", "The key ID in the request does not identify a CMK that can ...")
    for material in key.materials:
        with suppress(second_reader.Refused):
            plain = second_reader.unseal(material, _bound(context), sealed)
            _not_dry(request)
            return plain
    raise KmsRefusal("InvalidCiphertextException")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The default of 5 drops connections when many clients come at once.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    double: KmsDouble
    protocol_version = "HTTP/1.1"
    # Headers and body leave together: else each answer waits 40 ms for the client's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"Action=" in body:
            self.sts(parse_qs(body.decode()))
            return
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        request = Request(
            self.headers["X-Amz-Target"].removeprefix("TrentService."),
            scope.group(2) if scope else "",
            scope.group(1) if scope else "",
            json.loads(body),
        )
        fault = self.double.next_fault(request)
        if fault is not None and fault(self):
            return
        try:
            self.reply(200, self.double.answer(request))
        except KmsRefusal as refusal:
            self.refuse(refusal)

    def sts(self, asked: dict[str, list[str]]) -> None:
        """STS as far as it is asked here: who this is, and that nobody may assume a role."""
        if asked["Action"] == ["GetCallerIdentity"]:
            arn = f"arn:aws:iam::{ACCOUNT}:user/tester"
            self.send(
                200, f"<R><GetCallerIdentityResult><Arn>{arn}</Arn></GetCallerIdentityResult></R>", "text/xml"
            )
        else:
            error = "<Error><Code>AccessDenied</Code><Message>canary-of-sts</Message></Error>"
            self.send(403, f"<ErrorResponse>{error}</ErrorResponse>", "text/xml")

    def refuse(self, refusal: KmsRefusal) -> None:
        """Answer with an error as KMS words it."""
        self.reply(refusal.status, {"__type": refusal.code, "message": refusal.message})

    def reply(self, status: int, answer: object) -> None:
        """Answer with JSON."""
        self.send(status, json.dumps(answer), "application/x-amz-json-1.1")

    def send(self, status: int, text: str, kind: str) -> None:
        """Answer with a text of this content type."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nothing: pytest shows what went wrong."""


# --- faults ---------------------------------------------------------------------------------------------------


def refuse(code: str, message: str = "", status: int = 400) -> Fault:
    """An error answer instead of the right one."""

    def fault(handler: _Handler) -> bool:
        handler.refuse(KmsRefusal(code, message, status))
        return True

    return fault


def cut(handler: _Handler) -> bool:
    """Close the connection without an answer."""
    handler.close_connection = True
    return True


def hang(seconds: float) -> Fault:
    """Say nothing for a time, then close."""

    def fault(handler: _Handler) -> bool:
        time.sleep(seconds)
        handler.close_connection = True
        return True

    return fault


def say(status: int, answer: object) -> Fault:
    """Any other answer."""

    def fault(handler: _Handler) -> bool:
        handler.reply(status, answer)
        return True

    return fault
