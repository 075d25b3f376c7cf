"""Write the bill of materials of a wheel: CycloneDX JSON, the same bytes for the same wheel.

    .venv-supply/bin/python scripts/write_sbom.py WHEEL > FILE

cyclonedx-py reads requirements/wheel.txt: what the wheel requires without its extras, in the versions that are
tested. What no requirements file says is added: the wheel's own version and digest, and the libraries of others in
it (secure_xcom/reveal/static/vendor). The result is validated against the specification's schema.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements/wheel.txt"
SPECIFICATION = "1.6"
_VENDOR = "secure_xcom/reveal/static/vendor/"
_ROW = re.compile(
    r"^\| `(?P<file>[\w.]+)` \| \[(?P<name>[@\w/-]+)\]\((?P<url>[^)]+)\) (?P<version>[\d.]+) \| [^|]+ "
    r"\| (?P<license>[\w.-]+), [^|]+ \| `(?P<digest>[0-9a-f]{64})` \|$",
    re.MULTILINE,
)
_DIRECT = re.compile(r"^Requires-Dist: ([A-Za-z0-9._-]+)(?!.*extra ==)", re.MULTILINE)


def main(path: Path) -> str:
    """Return the text of the bill of materials of a wheel."""
    bill = _of_requirements()
    with zipfile.ZipFile(path) as wheel:
        metadata = wheel.read(
            next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        ).decode()
        vendored = list(_vendored(wheel))
    version = path.name.split("-")[1]
    subject = bill["metadata"]["component"]
    subject |= {
        "type": "library",
        "version": version,
        "purl": f"pkg:pypi/secure-xcom@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "components": vendored,
    }
    direct = {_canonical(name) for name in _DIRECT.findall(metadata)}
    listed = [part["bom-ref"] for part in bill["components"] if _canonical(part["name"]) in direct]
    if missing := direct - {_canonical(part["name"]) for part in bill["components"]}:
        sys.exit(f"{REQUIREMENTS.name} lacks {', '.join(sorted(missing))}: run `make requirements`")
    for entry in bill["dependencies"]:
        if entry["ref"] == subject["bom-ref"]:
            entry["dependsOn"] = sorted([*listed, *(part["bom-ref"] for part in vendored)])
    bill["dependencies"] += [{"ref": part["bom-ref"]} for part in vendored]
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    _validate(text)
    return text


def _of_requirements() -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(REQUIREMENTS)]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--no-validate"]
    command += ["--sv", SPECIFICATION]
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # of our own arguments
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def _vendored(wheel: zipfile.ZipFile) -> list[dict[str, Any]]:
    """Return the components in the wheel that others wrote, each compared with the digest in the table there."""
    parts = []
    files = {name for name in wheel.namelist() if name.startswith(_VENDOR) and name.endswith(".js")}
    for row in _ROW.finditer(wheel.read(f"{_VENDOR}README.md").decode()):
        name = f"{_VENDOR}{row['file']}"
        if hashlib.sha256(wheel.read(name)).hexdigest() != row["digest"]:
            sys.exit(f"{name} is not the file that the table beside it names")
        files.remove(name)
        parts.append(
            {
                "bom-ref": f"vendored-{row['file']}",
                "type": "library",
                "name": row["name"],
                "version": row["version"],
                "purl": f"pkg:npm/{row['name'].replace('@', '%40')}@{row['version']}",
                "licenses": [{"license": {"id": row["license"]}}],
                "hashes": [{"alg": "SHA-256", "content": row["digest"]}],
            }
        )
    if files:
        sys.exit(f"the table of vendored libraries lacks {', '.join(sorted(files))}")
    return parts


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _validate(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"not a bill of materials: {error}")


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))
