"""AWS's variables and files, read as botocore reads them: each answer is compared with a real session's."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_xcom.connections.aws.s3_access import S3Access, s3_access
from secure_xcom.connections.aws.s3_endpoint import s3_endpoint
from secure_xcom.connections.aws.shared_config import SharedConfig
from secure_xcom.core.errors import SettingInvalid

botocore_session = pytest.importorskip("botocore.session", reason="install secure-xcom[aws]")
# option, variable, section
SETTINGS = (
    ("region", "AWS_DEFAULT_REGION"),
    ("ca_bundle", "AWS_CA_BUNDLE"),
    ("request_checksum_calculation", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    ("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT"),
    ("use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without anything of AWS, whose files are in this folder."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name in ("REQUESTS_CA_BUNDLE",):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def of_botocore(service: str = "s3") -> dict[str, Any]:
    """What botocore makes of the same variables and files."""
    from botocore.configprovider import ConfiguredEndpointProvider

    session = botocore_session.Session()
    answers = {option: session.get_config_variable(option) for option, _ in SETTINGS}
    s3_section = session.get_scoped_config().get("s3")
    answers["addressing_style"] = s3_section.get("addressing_style") if isinstance(s3_section, dict) else None
    endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service).provide()
    answers["endpoint"] = None if session.get_config_variable("ignore_configured_endpoint_urls") else endpoint
    return answers


def of_ours(service: str = "s3") -> dict[str, Any]:
    """Our own answers to the same questions."""
    shared = SharedConfig("tests")
    answers: dict[str, Any] = {option: shared.value(option, variable) for option, variable in SETTINGS}
    for flag in ("use_fips_endpoint", "use_dualstack_endpoint"):
        if answers[flag] is not None:
            answers[flag] = answers[flag].lower() == "true"
    answers["request_checksum_calculation"] = answers["request_checksum_calculation"] or "when_supported"
    answers["addressing_style"] = shared.value("addressing_style", section="s3")
    answers["endpoint"] = shared.endpoint(service)
    return answers


URLS = st.sampled_from(("https://a.invalid", "http://b.invalid:9000", "https://c.invalid/x", ""))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(("eu-west-1", "cn-north-1", "")),
        "endpoint_url": URLS,
        "ignore_configured_endpoint_urls": st.sampled_from(("true", "TRUE", "false", "yes")),
        "services": st.sampled_from(("mine", "'other'")).filter(lambda name: name == "mine"),
        "use_fips_endpoint": st.sampled_from(("true", "no")),
        "ca_bundle": st.just("/bundle.pem"),
        "s3": st.sampled_from(
            ("\n  addressing_style = path", "\n  addressing_style=virtual\n  endpoint_url = https://no", "flat")
        ),
    },
)
VARIABLES = st.fixed_dictionaries(
    {},
    optional={
        "AWS_PROFILE": st.sampled_from(("default", "work", "only in credentials")),
        "AWS_DEFAULT_PROFILE": st.sampled_from(("default", "work")),
        "AWS_DEFAULT_REGION": st.sampled_from(("us-west-2", "")),
        "AWS_ENDPOINT_URL": URLS,
        "AWS_ENDPOINT_URL_S3": URLS,
        "AWS_ENDPOINT_URL_STS": URLS,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": st.sampled_from(("true", "False")),
        "AWS_USE_DUALSTACK_ENDPOINT": st.sampled_from(("true", "false")),
        "AWS_CA_BUNDLE": st.just("/another.pem"),
        "AWS_REQUEST_CHECKSUM_CALCULATION": st.just("when_required"),
    },
)


def written(sections: dict[str, dict[str, str]]) -> str:
    """The text of a configuration file."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
        for name, options in sections.items()
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(OPTIONS, OPTIONS, OPTIONS, URLS, VARIABLES)
def test_answers_are_botocores(
    folder: Path,
    default: dict[str, str],
    work: dict[str, str],
    credentials: dict[str, str],
    of_service: str,
    variables: dict[str, str],
) -> None:
    """Region, endpoints, addressing, certificates: of the variable, the services section or the profile."""
    services = {"s3": f"\n  endpoint_url = {of_service}", "sts": "\n  other = 1"}
    (folder / "config").write_text(
        written({"default": default, 'profile "work"': work, "services mine": services, "preview": {"a": "b"}})
    )
    (folder / "credentials").write_text(written({"only in credentials": credentials, "work": credentials}))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        for service in ("s3", "sts"):
            assert of_ours(service) == of_botocore(service)


@pytest.mark.parametrize(
    "config",
    [
        "[default]\nservices = nowhere\n",
        "not a file of sections",
        "[default]\ns3 =\n  addressing_style\n",
        "[profile a]\nregion = x\n[profile a]\nregion = y\n",
    ],
)
def test_what_botocore_refuses(folder: Path, config: str) -> None:
    """A file that boto3 refuses is refused here as well, in words that do not repeat it."""
    (folder / "config").write_text(config)
    with pytest.raises(Exception, match=r".*") as theirs:
        of_botocore()
    with pytest.raises(SettingInvalid) as ours:
        of_ours()
    assert type(theirs.value).__module__ == "botocore.exceptions"
    assert "addressing_style" not in str(ours.value)


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in AWS_PROFILE is an error, never the default profile."""
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(SettingInvalid, match="AWS_PROFILE or AWS_DEFAULT_PROFILE names"):
        SharedConfig("tests")


def test_the_region_of_aws_region_comes_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 does not read AWS_REGION: AWS_DEFAULT_REGION and the profile come before it."""
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert SharedConfig("tests").region == "ap-south-1"
    (folder / "config").write_text("[default]\nregion = eu-west-1\n")
    assert SharedConfig("tests").region == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert SharedConfig("tests").region == "eu-west-2"


@pytest.mark.parametrize("bucket", ["bucket", "with.dots", "under_score"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"])
@pytest.mark.parametrize(
    "config", ["", "use_dualstack_endpoint = true", "use_fips_endpoint = true", "s3 =\n  addressing_style = path"]
)
def test_addresses_are_botocores(bucket: str, region: str, config: str, folder: Path) -> None:
    """Without an endpoint of its own, a bucket is where boto3 would look for it."""
    if region.startswith("cn-") and "fips" in config:
        pytest.skip("China has no such endpoint")
    (folder / "config").write_text(f"[default]\nregion = {region}\n{config}\n")
    place = s3_endpoint(bucket, {}, {}, SharedConfig("tests"), "tests")
    ours = place.bucket_url(bucket) if place.virtual else f"{place.url}/{bucket}"
    assert f"{ours}/k" == _address_of_botocore(bucket)


def _address_of_botocore(bucket: str) -> str:
    from botocore.config import Config

    client = _SESSIONS.create_client(
        "s3", config=Config(s3={"us_east_1_regional_endpoint": "regional"}, signature_version="s3v4")
    )
    seen: list[str] = []

    def stop(request: Any, **_: Any) -> None:
        seen.append(request.url)
        raise StopIteration

    client.meta.events.register("before-send.s3", stop)
    with pytest.raises(StopIteration):
        client.get_object(Bucket=bucket, Key="k")
    return seen[0]


class _Sessions:
    """New sessions that share the data of services, which takes most of the time of a client."""

    def create_client(self, *arguments: Any, **options: Any) -> Any:
        session = botocore_session.Session()
        session.set_credentials("tests", "tests")
        session.register_component("data_loader", self._loader())
        return session.create_client(*arguments, **options)

    def _loader(self) -> Any:
        from botocore.loaders import Loader

        self.loader = getattr(self, "loader", None) or Loader()
        return self.loader


_SESSIONS = _Sessions()


# --- credentials ----------------------------------------------------------------------------------------------


class _Services(BaseHTTPRequestHandler):
    """EC2's metadata, a container's credentials, STS and SSO on one port."""

    def log_message(self, *args: object) -> None:
        """Nothing to say."""

    def do_PUT(self) -> None:
        self._answer("token-of-the-metadata-service", "text/plain")

    def do_GET(self) -> None:
        keys = {
            "AccessKeyId": "of-imds",
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": "2099-01-01T00:00:00Z",
        }
        if self.path.endswith("/security-credentials/"):
            self._answer("role", "text/plain")
        elif "/security-credentials/" in self.path:
            self._answer(json.dumps({**keys, "Code": "Success"}))
        elif self.path.startswith("/container"):
            self._answer(json.dumps({**keys, "AccessKeyId": "of-the-container"}))
        else:
            role = {
                "accessKeyId": "of-sso",
                "secretAccessKey": "s",
                "sessionToken": "t",
                "expiration": 4070908800000,
            }
            self._answer(json.dumps({"roleCredentials": role}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        action = "AssumeRoleWithWebIdentity" if "WebIdentity" in body else "AssumeRole"
        self._answer(
            f"<{action}Response><{action}Result><Credentials><AccessKeyId>of-{action}</AccessKeyId>"
            "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
            f"<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>",
            "text/xml",
        )

    def _answer(self, body: str, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def services() -> Iterator[str]:
    """The URL of the services."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Services)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


KEYS = "aws_access_key_id = of-the-profile\naws_secret_access_key = s\n"
ROLE = "role_arn = arn:aws:iam::000000000000:role/x\n"
LOGINS: dict[str, tuple[str, dict[str, str], str]] = {
    "environment": (KEYS, {"AWS_ACCESS_KEY_ID": "of-env", "AWS_SECRET_ACCESS_KEY": "s"}, "of-env"),
    "environment with a profile": (
        KEYS,
        {"AWS_ACCESS_KEY_ID": "of-env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "default"},
        "of-env",
    ),
    "half a pair": (KEYS, {"AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}, "of-the-profile"),
    "profile": (KEYS, {}, "of-the-profile"),
    "process": ("credential_process = {process}\n", {}, "of-the-process"),
    "assumed role": (f"{ROLE}source_profile = base\n[profile base]\n{KEYS}", {}, "of-AssumeRole"),
    "web identity": (
        "",
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}", "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/x"},
        "of-AssumeRoleWithWebIdentity",
    ),
    "web identity of the profile": (
        f"{ROLE}web_identity_token_file = {{token}}\n",
        {},
        "of-AssumeRoleWithWebIdentity",
    ),
    "sso": (
        "\n".join(
            (
                "sso_start_url = https://sso.invalid/start",
                "sso_region = us-east-1",
                "sso_account_id = 000000000000",
                "sso_role_name = x\n",
            )
        ),
        {},
        "of-sso",
    ),
    "container": (
        "",
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "{services}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret",
        },
        "of-the-container",
    ),
    "imds": ("", {"AWS_EC2_METADATA_DISABLED": "false"}, "of-imds"),
}


@pytest.mark.parametrize("login", LOGINS)
def test_credentials_are_boto3s(login: str, folder: Path, services: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each login that boto3 finds by itself gives both clients of a bucket the same keys as a boto3 session."""
    import boto3

    config, variables, expected = LOGINS[login]
    token = folder / "token"
    token.write_text("a-token")
    process = folder / "process"
    keys = {"Version": 1, "AccessKeyId": "of-the-process", "SecretAccessKey": "s"}
    process.write_text(f"#!{sys.executable}\nprint({json.dumps(keys)!r})\n")
    process.chmod(process.stat().st_mode | stat.S_IXUSR)
    known = {"token": str(token), "services": services, "process": str(process)}
    if config:
        (folder / "config").write_text("[default]\nregion = eu-west-1\n" + config.format(**known))
    if login == "sso":
        name = hashlib.sha1(b"https://sso.invalid/start").hexdigest()  # noqa: S324  # botocore's own file name
        token_of_person = {"accessToken": "t", "expiresAt": "2099-01-01T00:00:00UTC"}
        (folder / f"{name}.json").write_text(json.dumps(token_of_person))
        # botocore looks for the home folder when it is imported.
        monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(folder))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", services)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", services)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", services)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value.format(**known))
    access: S3Access = s3_access(None, "bucket", {}, "s3://bucket")
    theirs = boto3.session.Session().get_credentials().get_frozen_credentials()
    assert access.credentials is not None
    ours = access.credentials()
    assert isinstance(ours, dict)
    assert (ours["access_key_id"], ours["secret_access_key"], ours.get("token")) == (
        theirs.access_key,
        theirs.secret_key,
        theirs.token,
    )
    assert ours["access_key_id"] == expected
    assert access.session().get_credentials().get_frozen_credentials().access_key == expected


def test_no_credentials_at_all() -> None:
    """A machine without credentials says so at once, and how a connection is named."""
    with pytest.raises(SettingInvalid, match=r"no AWS credentials.*s3://CONN_ID@BUCKET"):
        s3_access(None, "bucket", {}, "s3://bucket")
