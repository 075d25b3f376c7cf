"""The stored vectors, read by the modules of the reveal page in Node: a third implementation of format.md."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from tests.support import third_reader
from tests.vectors.test_vectors import STORED

VECTORS = {name: vector for name, vector in STORED.items() if vector["kind"] in third_reader.KINDS}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, third_reader.Vector]:
    """Read all of them in one process."""
    answer: dict[str, third_reader.Vector] = third_reader.read_in_node(vectors=VECTORS)["outcomes"]
    return answer


def test_the_page_reads_every_vector(outcomes: dict[str, third_reader.Vector]) -> None:
    """Every sealed payload, wrap and reference gives what its vector expects, or is refused in its class."""
    assert len([name for name in VECTORS if name.startswith("seal-")]) >= 6
    for name, vector in VECTORS.items():
        try:
            third_reader.check(vector, outcomes[name])
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"{name}: {error!r}") from error


def test_every_class_of_the_seal_is_met(outcomes: dict[str, third_reader.Vector]) -> None:
    """The vectors make the page tell apart all that can be changed."""
    met = {outcome.get("error") for outcome in outcomes.values()}
    assert met >= {
        "HeadTampered",
        "PayloadSwapped",
        "PayloadTampered",
        "PayloadTruncated",
        "CoordinateMismatch",
        "ReferenceExpired",
        "ClockSkewed",
        "ValueNotDecodable",
        "ValueTooLarge",
    }


def test_cobblestone_is_short() -> None:
    """A reviewer reads the whole cipher code of the browser on one page."""
    assert len((third_reader.STATIC / "cobblestone.js").read_text().splitlines()) < 80


def test_vendored_files_are_as_published() -> None:
    """Each has its licence beside it, and the digest of the table."""
    vendor = third_reader.STATIC / "vendor"
    table = re.findall(r"^\| `(\S+\.js)` .*`([0-9a-f]{64})` \|$", (vendor / "README.md").read_text(), re.MULTILINE)
    assert dict(table) == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in vendor.glob("*.js")
    }
    assert all((vendor / name.replace(".js", ".LICENSE")).exists() for name, _ in table)


NAMES = """
    password PASSWORD db_password dbPassword Password-Policy password_policy next_page_token nextPageToken token
    tokens max_tokens input_tokens input_access_tokens api_key apiKey APIKey api_key_id keyfile secretary
    secretariat my_secret secrets secret_count reset_token_url token_url token_type tokenizer detokenized
    records_now dsn proxy proxy_host http_proxy authorization authorization_endpoint connectionString
    service_account service_account_email image_pull_secrets passwordless passwordless_token
    webhook_url proxies eos_token_id
    iban ibanNumber iban_type customer_iban keys privateKeys access_token expires_in bearer_format
    client_secret_expires_at
    straße_password größe näme.token tokéns name amount token_budget_secret auth_headers header
""".split()  # noqa: SIM905 - A list of words.


@pytest.mark.parametrize(
    ("listed", "not_sensitive"), [((), ()), (("iban", "token_url"), ()), ((), ("db_*", "tok?n"))]
)
def test_sensitive_names_are_the_product_s(listed: tuple[str, ...], not_sensitive: tuple[str, ...]) -> None:
    """The page masks under the names under which masks and previews do, for texts and for numbers."""
    names = SensitiveNames(DEFAULT_NAMES, listed=listed, not_sensitive=not_sensitive)
    sensitive = {"names": sorted(names.names), "listed": listed, "exceptions": not_sensitive}
    judged = third_reader.read_in_node(sensitive=sensitive, names=NAMES)["names"]
    ours = [[names.hides(name, "x"), names.hides(name, 1)] for name in NAMES]
    assert dict(zip(NAMES, judged, strict=True)) == dict(zip(NAMES, ours, strict=True))


SERIALISED = '"__classname__": "acme.Order", "__version__": 1, "__data__": {"amount": 5}'


@pytest.mark.parametrize("name", ["more", "constructor", "toString", "__proto__", "hasOwnProperty"])
def test_no_field_hides_in_a_serialised_object(name: str) -> None:
    """A field beside those of Airflow's serialisation is masked, under names of JavaScript's own as well."""
    json_text = f'{{{SERIALISED}, "{name}": {{"password": "s3cr3t"}}}}'
    sensitive = {"names": ["password"], "listed": [], "exceptions": []}
    (copy,) = third_reader.read_in_node(sensitive=sensitive, copied=[json_text])["copies"]
    assert json.loads(copy)[name] == {"password": "***"}


@pytest.mark.parametrize(("piece", "count"), [("a", 8 << 20), ("\n", 1 << 20), ('a"\\', 1 << 20), ("\u2028\\", 1)])
def test_a_text_of_megabytes_is_read(piece: str, count: int) -> None:
    """The largest text that is revealed is read as any other, whatever it has of escapes."""
    (copy,) = third_reader.read_in_node(copied=[json.dumps(piece * count, ensure_ascii=False)])["copies"]
    assert json.loads(copy) == piece * count


def test_a_long_name_takes_little_time() -> None:
    """A task that names a field with a million characters keeps no page busy; the field is masked."""
    name = "password_" + "max" * 300_000 + "_tokenx"
    sensitive = {"names": ["password", "token"], "listed": [], "exceptions": ["*a*b*c"]}
    assert third_reader.read_in_node(sensitive=sensitive, names=[name])["names"] == [[True, True]]
