"""The images of the tests: Airflow with secure_xcom, OpenBao, and the one that holds a pod's namespaces.

The Airflow image is this machine's Python with the packages of requirements/dev.txt that a deployment has, for
Airflow's user 50000, as the official image has it. It stands in for that one: no registry is asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.support.kubernetes.image import Entry, Files, Folder, Text, write_image, write_layer
from tests.support.servers.vault_binary import cache_folder, openbao_program

REPOSITORY = Path(__file__).parents[3]
AIRFLOW = "secure-xcom.test/airflow:1"
OPENBAO = "secure-xcom.test/openbao:1"
PAUSE = "secure-xcom.test/pause:1"
EXTRAS = ("", "vault", "aws")
# What the official image has beside these.
BESIDE = ("apache-airflow-providers-cncf-kubernetes", "asyncpg", "psycopg2-binary")
SCRIPTS = (("airflow", "airflow.__main__"), ("secure-xcom", "secure_xcom.cli"))
SHARED = ("tests/e2e/hunt.py", "tests/kubernetes/kit.py")
PROGRAMS = ("bash", "cat", "env", "id", "ls", "mkdir", "rm", "sh", "sleep")
# What the agent of values-vault-agent.yaml starts beside `bao`.
AGENT_PROGRAMS = ("sed", "sh", "test")
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_STDLIB = f"/usr/local/lib/{_VERSION}"
_PYTHON = f"/usr/local/bin/{_VERSION}"
_LEFT_OUT = frozenset({"test", "site-packages", "dist-packages", "idlelib", "ensurepip", "tkinter", "turtledemo"})
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nairflow:x:50000:0:airflow:/home/airflow:/bin/sh\n"
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_CONFIG = {
    "Env": [
        "PATH=/usr/local/bin:/bin:/usr/bin",
        "AIRFLOW_HOME=/opt/airflow",
        "HOME=/home/airflow",
        "LANG=C.UTF-8",
        "AIRFLOW__CORE__XCOM_BACKEND=secure_xcom.SecureXComBackend",
    ],
    "User": "50000",
    "WorkingDir": "/opt/airflow",
    "Entrypoint": ["/entrypoint"],
}


@dataclass(frozen=True)
class Image:
    """An image as a tar file."""

    file: Path
    name: str
    digest: str
    size: int
    """Bytes, not compressed."""

    @property
    def by_digest(self) -> str:
        """The name that deployments write down: the repository, and the digest instead of the tag."""
        return f"{self.name.rpartition(':')[0]}@{self.digest}"


def images(folder: Path, pause: Path, dags: Path) -> dict[str, Image]:
    """Write the images into a folder; their layers that seldom change stay in the cache."""
    bao = openbao_program()
    if bao is None:
        raise RuntimeError("no OpenBao: it comes with requirements/dev.txt")
    made = folder / "product"
    own: list[Entry] = [
        *_product(made),
        Folder("opt/airflow", 0o775),
        Files(dags, "opt/airflow/dags", without=frozenset({"__pycache__"})),
        # What the DAGs of the tests share.
        *(Files(REPOSITORY / path, f"{_STDLIB}/site-packages/{path}") for path in SHARED),
        # Commands keep their state in this folder.
        Folder("opt/airflow/secure_xcom", 0o775),
        Files(REPOSITORY / "deploy" / "dags", "opt/airflow/secure_xcom", without=frozenset({"__pycache__"})),
    ]
    top = write_layer(folder / "product.tar", own)
    one = write_layer(folder / "pause-layer.tar", [Files(pause, "pause")])
    vault = write_layer(
        folder / "openbao-layer.tar", [Files(bao, "bin/bao"), Folder("tmp", 0o1777), *_tools(AGENT_PROGRAMS)]
    )
    recipes: dict[str, tuple[str, dict[str, Any], list[Path]]] = {
        "pause": (PAUSE, {"Entrypoint": ["/pause"]}, [one]),
        "openbao": (OPENBAO, {"Entrypoint": ["/bin/bao"], "Env": ["HOME=/tmp", "PATH=/bin"]}, [vault]),
        "airflow": (AIRFLOW, _CONFIG, [_base_layer(), _packages_layer(), top]),
    }
    written = {}
    for short, (name, config, layers) in recipes.items():
        file = folder / f"{short}.tar"
        digest = write_image(file, name, config, layers)
        written[short] = Image(file, name, digest, file.stat().st_size)
    for leftover in (made, top, one, vault):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return written


def _base_layer() -> Path:
    """This machine's Python, a shell and some tools, with the libraries that they are linked with."""
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    python = Path(sys.base_prefix) / "bin" / _VERSION
    modules = sorted((stdlib / "lib-dynload").glob("*.so"))
    key = f"{sys.version}{stdlib}{python.stat().st_mtime}{PROGRAMS}{Path(__file__).read_text()}"
    config = next((entry.name for entry in stdlib.iterdir() if entry.name.startswith("config-")), "")
    entries: list[Entry] = [
        Files(stdlib, _STDLIB, without=_LEFT_OUT | {config}),
        Files(python.resolve(), _PYTHON),
        Text(f'#!/bin/sh\nexec {_PYTHON} "$@"\n', "/usr/local/bin/python", 0o755),
        *(_script(name, module) for name, module in SCRIPTS),
        *_tools(PROGRAMS),
        *_linked_with([python, *modules]),
        Files(Path("/") / _CERTIFICATES, _CERTIFICATES),
        Text(_PASSWD, "etc/passwd"),
        Text("root:x:0:\n", "etc/group"),
        Text("passwd: files\ngroup: files\nhosts: files dns\n", "etc/nsswitch.conf"),
        Text('#!/bin/sh\nexec "$@"\n', "entrypoint", 0o755),
        Folder("tmp", 0o1777),
        Folder("run", 0o755),
        Folder("opt/airflow", 0o775),
        Folder("home/airflow", 0o775),
    ]
    return _cached("base", key, entries)


def _tools(names: Sequence[str]) -> Iterator[Files]:
    """Programs of this machine, with the libraries that they are linked with."""
    tools = [Path(path) for path in map(shutil.which, names) if path]
    yield from (Files(tool.resolve(), f"bin/{tool.name}") for tool in tools)
    yield from _linked_with(tools)


def _linked_with(programs: list[Path]) -> Iterator[Files]:
    yield from (Files(path.resolve(), str(path).lstrip("/")) for path in _libraries(programs))


def _script(name: str, module: str) -> Text:
    lines = [f"#!{_PYTHON}", "import sys", f"from {module} import main", "sys.exit(main())", ""]
    return Text("\n".join(lines), f"/usr/local/bin/{name}", 0o755)


def _packages_layer() -> Path:
    """Airflow and its providers, of exactly the versions that the other tests run with."""
    pins = "".join(
        f"{line.rstrip(' ')}\n"
        for line in re.findall(
            r"^[^\s#][^\\\n]*==[^\\\n]*", (REPOSITORY / "requirements" / "dev.txt").read_text(), re.M
        )
    )
    needed = sorted({*BESIDE, *_requirements()})
    return _cached("packages", f"{pins}{needed}{sys.version}", None, pins, needed)


def _requirements() -> Iterator[str]:
    """What the product needs with the image's extras."""
    for line in metadata.requires("secure_xcom") or ():
        requirement = Requirement(line)
        if any(requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS):
            yield requirement.name


def _cached(name: str, key: str, entries: list[Entry] | None, pins: str = "", needed: Sequence[str] = ()) -> Path:
    folder = cache_folder() / "kubernetes"
    folder.mkdir(exist_ok=True)
    layer = folder / f"layer-{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.tar"
    with (folder / "layers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layer.exists():
            print(f"writing a layer of the images into {folder}, once", flush=True)
            for older in folder.glob(f"layer-{name}-*"):
                older.unlink()
            if entries is None:
                target = folder / "packages"
                constraints = folder / "constraints.txt"
                constraints.write_text(pins)
                _install(target, ["--constraint", str(constraints), *needed])
                write_layer(layer, [*_libraries_of(target), Files(target, f"{_STDLIB}/site-packages")])
                shutil.rmtree(target)
            else:
                write_layer(layer, entries)
    return layer


def _product(target: Path) -> Iterator[Files]:
    """secure_xcom as this checkout has it."""
    _install(target, ["--no-deps", "--no-build-isolation", str(REPOSITORY)])
    for entry in sorted(target.iterdir()):
        if entry.name != "bin":
            yield Files(entry, f"{_STDLIB}/site-packages/{entry.name}")


def _install(target: Path, arguments: list[str]) -> None:
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    shutil.rmtree(target, ignore_errors=True)
    ways = (
        [[str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--compile-bytecode"]]
        if uv.exists()
        else []
    )
    # uv does not read pip's own settings, so behind a mirror that only pip knows, pip does the work.
    ways.append([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    said = ""
    for way in ways:
        done = subprocess.run(
            [*way, "--target", str(target), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode == 0:
            return
        said += done.stderr[-2000:]
    raise RuntimeError(f"the packages of the Airflow image cannot be installed: {said}")


def _libraries_of(packages: Path) -> list[Files]:
    """System libraries that the packages' modules are linked with, and do not bring."""
    modules = [path for path in packages.rglob("*.so*") if path.is_file()]
    wanted = [path for path in _libraries(modules) if not path.is_relative_to(packages)]
    return [Files(path.resolve(), str(path).lstrip("/")) for path in wanted]


def _libraries(programs: list[Path]) -> list[Path]:
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", said)})
