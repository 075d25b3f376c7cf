"""OCI images out of folders of this machine: no Docker, no registry, no network.

Layers are plain tars, since they are unpacked once, on this machine; a layer that seldom changes is kept as a file
and put into many images. Format: the OCI image specification 1.0, image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LEFT_OUT = ("__pycache__.tmp", ".pyc.tmp")


@dataclass(frozen=True)
class Files:
    """A file or folder of this machine, and the path that it has in the image."""

    source: Path
    inside: str
    without: frozenset[str] = frozenset()
    """Names of entries, directly in the folder, that stay out."""


@dataclass(frozen=True)
class Text:
    """A file that is written here."""

    text: str
    inside: str
    mode: int = 0o644


@dataclass(frozen=True)
class Folder:
    """An empty folder."""

    inside: str
    mode: int = 0o755


Entry: TypeAlias = Files | Text | Folder


def write_layer(target: Path, entries: Iterable[Entry]) -> Path:
    """Write a layer as a tar file; every file is root's and readable by all.

    Times of files stay, because the compiled files of Python are valid for one time of their source.
    """
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        layer = _Layer(tar)
        for entry in entries:
            layer.add(entry)
    partial.replace(target)
    return target


class _Layer:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()

    def add(self, entry: Entry) -> None:
        inside = entry.inside.strip("/")
        self._parents(inside)
        if isinstance(entry, Folder):
            self._folder(inside, entry.mode)
        elif isinstance(entry, Text):
            data = entry.text.encode()
            info = tarfile.TarInfo(inside)
            info.size, info.mode = len(data), entry.mode
            self._tar.addfile(info, io.BytesIO(data))
        else:
            left_out = {f"{inside}/{name}" for name in entry.without}

            def clean(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
                if info.name in left_out or info.name in self._names or info.name.endswith(_LEFT_OUT):
                    return None
                return _readable(info)

            self._tar.add(entry.source, inside, filter=clean)
        self._names.add(inside)

    def _parents(self, inside: str) -> None:
        parts = inside.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            if name not in self._names:
                self._folder(name, 0o755)

    def _folder(self, name: str, mode: int) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(info)
        self._names.add(name)


def _readable(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = int(info.mtime)
    if info.isfile() or info.isdir():
        info.mode |= 0o555 if info.isdir() or info.mode & 0o100 else 0o444
    return info


def write_image(target: Path, name: str, config: Mapping[str, Any], layers: Sequence[Path]) -> str:
    """Write an image as the tar of an OCI layout; return its digest, ``sha256:...``.

    :param name: as containerd is to know it.
    :param config: Env, User, WorkingDir, Entrypoint.
    """
    digests = [_digest_of_file(layer) for layer in layers]
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    root = {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]}
    described = blob(_CONFIG, {"architecture": "amd64", "os": "linux", "config": config, "rootfs": root})
    layer_list = [
        {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": layer.stat().st_size}
        for digest, layer in zip(digests, layers, strict=True)
    ]
    manifest = blob(
        _MANIFEST, {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layer_list}
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": names}]}
    with tarfile.open(target, "w") as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _put(tar, "index.json", json.dumps(index).encode())
        for digest, data in blobs.items():
            _put(tar, f"blobs/sha256/{digest}", data)
        for digest, layer in zip(digests, layers, strict=True):
            tar.add(layer, f"blobs/sha256/{digest}")
    return str(manifest["digest"])


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
