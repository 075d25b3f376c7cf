"""Every environment variable that the installed obstore reads, with a value that would change what it does.

The names come from obstore itself: from the stubs in its package and from the strings of its shared object, where
the names of object_store's options stand one after another.
"""

from __future__ import annotations

import re
from pathlib import Path

import obstore

PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
_CLIENT = {
    "ALLOW_HTTP": "false",
    "ALLOW_INVALID_CERTIFICATES": "garbage",
    "CONNECT_TIMEOUT": "1ns",
    "DEFAULT_CONTENT_TYPE": "text/elsewhere",
    "DISABLE_SYSTEM_CERTIFICATES": "garbage",
    "HTTP1_ONLY": "garbage",
    "HTTP2_KEEP_ALIVE_INTERVAL": "garbage",
    "HTTP2_KEEP_ALIVE_TIMEOUT": "garbage",
    "HTTP2_KEEP_ALIVE_WHILE_IDLE": "garbage",
    "HTTP2_MAX_FRAME_SIZE": "garbage",
    "HTTP2_ONLY": "true",
    "POOL_IDLE_TIMEOUT": "garbage",
    "POOL_MAX_IDLE_PER_HOST": "garbage",
    "PROXY_CA_CERTIFICATE": "garbage",
    "PROXY_EXCLUDES": "garbage",
    "PROXY_URL": "{elsewhere}",
    "RANDOMIZE_ADDRESSES": "garbage",
    "READ_TIMEOUT": "1ns",
    "TIMEOUT": "1ns",
    "USER_AGENT": "elsewhere",
}
_AWS = {
    "ACCESS_KEY_ID": "elsewhere",
    "BUCKET": "elsewhere",
    "BUCKET_NAME": "elsewhere",
    "CHECKSUM_ALGORITHM": "sha256",
    "CONDITIONAL_PUT": "disabled",
    "CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere",
    "CONTAINER_CREDENTIALS_FULL_URI": "{elsewhere}",
    "CONTAINER_CREDENTIALS_RELATIVE_URI": "/elsewhere",
    "COPY_IF_NOT_EXISTS": "garbage",
    "DEFAULT_REGION": "elsewhere-1",
    "DISABLE_BULK_DELETE": "true",
    "DISABLE_TAGGING": "true",
    "ENDPOINT": "{elsewhere}",
    "ENDPOINT_URL": "{elsewhere}",
    "ENDPOINT_URL_S3": "{elsewhere}",
    "ENDPOINT_URL_STS": "{elsewhere}",
    "IMDSV1_FALLBACK": "garbage",
    "METADATA_ENDPOINT": "{elsewhere}",
    "REGION": "elsewhere-1",
    "REQUEST_PAYER": "requester",
    "ROLE_ARN": "arn:aws:iam::000000000000:role/elsewhere",
    "ROLE_SESSION_NAME": "elsewhere",
    "S3_EXPRESS": "true",
    "SECRET_ACCESS_KEY": "elsewhere",
    "SERVER_SIDE_ENCRYPTION": "aws:kms",
    "SESSION_TOKEN": "elsewhere",
    "SKIP_SIGNATURE": "true",
    "SSE_BUCKET_KEY_ENABLED": "true",
    "SSE_CUSTOMER_KEY_BASE64": "ZWxzZXdoZXJl",
    "SSE_KMS_KEY_ID": "elsewhere",
    "STS_ENDPOINT": "{elsewhere}",
    "TOKEN": "elsewhere",
    "UNSIGNED_PAYLOAD": "true",
    "VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "WEB_IDENTITY_TOKEN_FILE": "/nowhere",
}
_GOOGLE = {
    "APPLICATION_CREDENTIALS": "/nowhere",
    "BASE_URL": "{elsewhere}",
    "BEARER_TOKEN": "elsewhere",
    "BUCKET": "elsewhere",
    "BUCKET_NAME": "elsewhere",
    "SERVICE_ACCOUNT": "/nowhere",
    "SERVICE_ACCOUNT_KEY": "garbage",
    "SERVICE_ACCOUNT_PATH": "/nowhere",
    "SKIP_SIGNATURE": "true",
}
_AZURE = {
    "AUTHORITY_HOST": "{elsewhere}",
    "AUTHORITY_ID": "elsewhere",
    "CLIENT_ID": "elsewhere",
    "CLIENT_SECRET": "elsewhere",
    "CONTAINER_NAME": "elsewhere",
    "CREDENTIAL_TYPE": "garbage",
    "DISABLE_TAGGING": "garbage",
    "ENCRYPTION_KEY": "garbage",
    "ENDPOINT": "{elsewhere}",
    "FABRIC_CLUSTER_IDENTIFIER": "elsewhere",
    "FABRIC_SESSION_TOKEN": "elsewhere",
    "FABRIC_TOKEN_SERVICE_URL": "{elsewhere}",
    "FABRIC_WORKLOAD_HOST": "elsewhere",
    "FEDERATED_TOKEN_FILE": "/nowhere",
    "IDENTITY_ENDPOINT": "{elsewhere}",
    "MSI_ENDPOINT": "{elsewhere}",
    "MSI_RESOURCE_ID": "elsewhere",
    "OBJECT_ID": "elsewhere",
    "SKIP_SIGNATURE": "true",
    "STORAGE_ACCESS_KEY": "ZWxzZXdoZXJl",
    "STORAGE_ACCOUNT_KEY": "ZWxzZXdoZXJl",
    "STORAGE_ACCOUNT_NAME": "elsewhere",
    "STORAGE_AUTHORITY_HOST": "{elsewhere}",
    "STORAGE_AUTHORITY_ID": "elsewhere",
    "STORAGE_CLIENT_ID": "elsewhere",
    "STORAGE_CLIENT_SECRET": "elsewhere",
    "STORAGE_ENCRYPTION_KEY": "garbage",
    "STORAGE_ENDPOINT": "{elsewhere}",
    "STORAGE_MASTER_KEY": "ZWxzZXdoZXJl",
    "STORAGE_SAS_KEY": "sig=elsewhere",
    "STORAGE_SAS_TOKEN": "sig=elsewhere",
    "STORAGE_TENANT_ID": "elsewhere",
    "STORAGE_TOKEN": "elsewhere",
    "STORAGE_USE_EMULATOR": "true",
    "TENANT_ID": "elsewhere",
    "USE_AZURE_CLI": "true",
    "USE_FABRIC_ENDPOINT": "true",
}
# Read by name, beside those with a prefix, and by the HTTP library below.
_OTHERS = {
    "AWS_": {},
    "GOOGLE_": {"SERVICE_ACCOUNT": "/nowhere"},
    "AZURE_": {"MSI_ENDPOINT": "{elsewhere}", "IDENTITY_ENDPOINT": "{elsewhere}"},
}
_HTTP = {"ALL_PROXY": "{elsewhere}", "SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere"}


def variables(prefix: str, elsewhere: str) -> dict[str, str]:
    """Return each variable of one service with a value that would lead elsewhere, or nowhere."""
    options = {"AWS_": _AWS, "GOOGLE_": _GOOGLE, "AZURE_": _AZURE}[prefix]
    named = {prefix + name: value for name, value in {**options, **_CLIENT}.items()}
    return {
        name: value.format(elsewhere=elsewhere) for name, value in {**named, **_OTHERS[prefix], **_HTTP}.items()
    }


def in_stubs() -> set[str]:
    """Return the variables that obstore's stubs name, and those of its connection options."""
    folder = Path(obstore.__file__).parent / "_store"
    text = "\n".join((folder / name).read_text() for name in ("_aws.pyi", "_gcs.pyi", "_azure.pyi"))
    named = set(re.findall(r"`((?:AWS|GOOGLE|AZURE)_[A-Z0-9_]+)`", text))
    options = re.findall(r"^    ([a-z0-9_]+):", (folder / "_client.pyi").read_text(), re.MULTILINE)
    # These two are not texts: only Python can give them.
    texts = set(options) - {"default_headers", "root_certificate"}
    return named | {prefix + option.upper() for prefix in PREFIXES for option in texts}


def unknown_in_binary() -> str:
    """Return what remains of the names in obstore's shared object when every known one is taken out."""
    (binary,) = Path(obstore.__file__).parent.glob("_obstore*.so")
    names = re.search(
        rb"aws_access_key_id[a-z0-9_]+google_[a-z_]+|aws_access_key_idaws[a-z0-9_]*", binary.read_bytes()
    )
    azure = re.search(rb"azure_storage_account_key[a-z0-9_]+encryption_key", binary.read_bytes())
    assert names is not None
    assert azure is not None, "the names of options are no longer stored one after another"
    rest = f"{names[0].decode()}|{azure[0].decode()}"
    known = {name.lower() for prefix in PREFIXES for name in variables(prefix, "")}
    known |= {name.partition("_")[2] for name in known}
    known |= {"token", *(name.removeprefix("storage_") for name in known)}
    for name in sorted(known, key=len, reverse=True):
        rest = rest.replace(name, "|")
    return rest.strip("|")
