"""A double of Google Cloud Storage on loopback, because no emulator takes the XML API's conditional PUT.

It has what the store uses, as Google's reference describes it: of the XML API GET with ranges, HEAD, DELETE, lists
and PUT with ``x-goog-if-generation-match: 0``; of the JSON API an object's metadata and resumable uploads with
``ifGenerationMatch``. It proves the store's requests and its reading of the answers, not Google's behavior.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class StoredBlob:
    """An object and what is known of it."""

    body: bytes
    generation: int
    modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"


@dataclass
class GcsDouble:
    """A server at `endpoint` with one bucket."""

    bucket: str
    token: str
    endpoint: str = ""
    blobs: dict[str, StoredBlob] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, name: str, body: bytes, *, only_new: bool, **known: Any) -> StoredBlob | None:
        """Store it, or None when it must be new and is not."""
        with self.lock:
            if only_new and name in self.blobs:
                return None
            made = StoredBlob(body, next(self.generations), datetime.now(timezone.utc), **known)
            self.blobs[name] = made
            return made


@contextmanager
def gcs_double(bucket: str, token: str) -> Iterator[GcsDouble]:
    """A running double that takes this bearer token only."""
    double = GcsDouble(bucket, token)

    class Handler(_Handler):
        gcs = double

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    gcs: GcsDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing to say."""

    def handle_expect_100(self) -> bool:
        return True

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if self.headers.get("Authorization") != f"Bearer {self.gcs.token}":
            self._error(401, "AuthenticationRequired")
            return
        first, _, rest = url.path.removeprefix("/").partition("/")
        if first == "upload" or (first == "storage" and rest.startswith("v1/")):
            self._json(body, url.path, query)
        elif first != self.gcs.bucket:
            self._error(404, "NoSuchBucket")
        elif not rest:
            self._list(query)
        else:
            self._xml(unquote(rest), body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815  # http.server's names

    def _xml(self, name: str, body: bytes) -> None:
        if self.command == "PUT":
            only_new = self.headers.get("x-goog-if-generation-match") == "0"
            storage_class = self.headers.get("x-goog-storage-class", "STANDARD")
            made = self.gcs.create(name, body, only_new=only_new, storage_class=storage_class)
            if made is None:
                self._error(412, "PreconditionFailed")
            else:
                self._answer(200, b"", {"ETag": _etag(made), "x-goog-generation": str(made.generation)})
            return
        found = self.gcs.blobs.get(name)
        if found is None:
            self._error(404, "NoSuchKey")
        elif self.command == "DELETE":
            self.gcs.blobs.pop(name, None)
            self._answer(204, b"")
        else:
            self._give(found)

    def _give(self, found: StoredBlob) -> None:
        headers = {
            "ETag": _etag(found),
            "Last-Modified": found.modified.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "x-goog-generation": str(found.generation),
        }
        asked = self.headers.get("Range")
        if not asked:
            self._answer(200, found.body, headers)
            return
        start, _, end = asked.removeprefix("bytes=").partition("-")
        part = found.body[int(start) : int(end) + 1 if end else None]
        last = int(start) + len(part) - 1
        self._answer(206, part, {**headers, "Content-Range": f"bytes {start}-{last}/{len(found.body)}"})

    def _list(self, query: dict[str, str]) -> None:
        after = query.get("continuation-token", "")
        names = sorted(n for n in self.gcs.blobs if n.startswith(query.get("prefix", "")) and n > after)
        # Small pages, so that a listing has several.
        page, more = names[:50], len(names) > 50
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(blob.body)}</Size><ETag>{escape(_etag(blob))}</ETag>"
            f"<LastModified>{blob.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for name in page
            if (blob := self.gcs.blobs.get(name))
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        flag = str(more).lower()
        body = f"<ListBucketResult><IsTruncated>{flag}</IsTruncated>{token}{contents}</ListBucketResult>"
        self._answer(200, body.encode())

    def _json(self, body: bytes, path: str, query: dict[str, str]) -> None:
        if self.command == "POST":
            about = json.loads(body)
            upload = str(next(self.gcs.generations))
            only_new = query.get("ifGenerationMatch") == "0"
            if f"/b/{self.gcs.bucket}/o" not in path:
                self._answer(404, b'{"error": {"code": 404, "message": "bucket"}}')
                return
            self.gcs.uploads[upload] = {"about": about, "held": bytearray(), "only_new": only_new}
            location = f"http://{self.headers['Host']}{path}?uploadType=resumable&upload_id={upload}"
            self._answer(200, b"", {"Location": location})
        elif self.command == "PUT":
            self._resume(query["upload_id"], body)
        elif self.command == "DELETE":
            self.gcs.uploads.pop(query["upload_id"], None)
            self._answer(204, b"")
        else:
            name = unquote(path.rpartition("/o/")[2])
            found = self.gcs.blobs.get(name)
            if found is None:
                self._answer(404, b'{"error": {"code": 404, "message": "object"}}')
            else:
                self._answer(200, json.dumps({"name": name, "metadata": found.metadata}).encode())

    def _resume(self, upload_id: str, body: bytes) -> None:
        upload = self.gcs.uploads.get(upload_id)
        if upload is None:
            self._answer(410, b'{"error": {"code": 410, "message": "upload"}}')
            return
        span, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
        held: bytearray = upload["held"]
        if span != "*":
            del held[int(span.partition("-")[0]) :]
            held += body
        if total == "*" or len(held) < int(total):
            self._answer(308, b"", {"Range": f"bytes=0-{len(held) - 1}"} if held else {})
            return
        about = upload["about"]
        known = {"metadata": about.get("metadata", {}), "storage_class": about.get("storageClass", "STANDARD")}
        made = self.gcs.create(about["name"], bytes(held), only_new=upload["only_new"], **known)
        del self.gcs.uploads[upload_id]
        if made is None:
            self._answer(412, b'{"error": {"code": 412, "message": "precondition"}}')
        else:
            self._answer(200, json.dumps({"name": about["name"], "generation": str(made.generation)}).encode())

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(blob: StoredBlob) -> str:
    return f'"{hashlib.sha256(blob.body).hexdigest()[:32]}"'
