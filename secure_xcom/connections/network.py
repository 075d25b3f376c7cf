"""The proxy and the certificate authorities for one endpoint, decided once for all of its clients.

boto3, requests (Google's and Azure's SDK) and obstore each read the environment by rules of their own: obstore
heeds ALL_PROXY and SSL_CERT_FILE and the machine's certificates, boto3 none of these. So the rules of the
service's own SDK decide, and every client is told the result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from secure_xcom.core.errors import SettingInvalid

ENDPOINT_REMEDY = "write https://HOST[:PORT]; http:// sends without TLS"
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,300}(?:/[!-~]{0,300})?")


def is_endpoint(text: str) -> bool:
    """Check whether a text is the URL of a service: ``https://HOST[:PORT][/PATH]``, or with http."""
    try:
        return _ENDPOINT.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:
        # What stands in brackets is no IPv6 address.
        return False


@dataclass(frozen=True, slots=True)
class Network:
    """How the clients of one endpoint connect.

    :ivar proxy: the URL of the proxy, or None for a direct connection.
    :ivar verify: False if certificates are not checked, True for the default authorities, or the path of a bundle.
    :ivar proxies_named: True if the environment names proxies, so that a direct connection has to be asked for.
    """

    endpoint: str
    proxy: str | None = None
    verify: bool | str = True
    proxies_named: bool = False

    @property
    def proxies(self) -> dict[str, str]:
        """The proxy by the endpoint's scheme, as botocore and requests take it; empty for none."""
        return {urlsplit(self.endpoint).scheme: self.proxy} if self.proxy else {}

    @property
    def plain(self) -> bool:
        """True if the endpoint is reached without TLS."""
        return self.endpoint.startswith("http://")

    def authorities(self, where: str) -> bytes | None:
        """Return the certificate authorities to trust, as PEM; None for those of the machine, b"" for none at all.

        :raises SettingInvalid: the bundle cannot be read.
        """
        bundle = self.verify if isinstance(self.verify, str) else _default_bundle()
        if self.verify is False:
            return b""
        if bundle is None:
            return None
        try:
            if os.path.isdir(bundle):
                files = sorted(entry.path for entry in os.scandir(bundle) if entry.is_file())
            else:
                files = [bundle]
            return b"\n".join(_content(file) for file in files)
        except OSError as error:
            raise SettingInvalid(
                f"the certificate bundle cannot be read ({type(error).__name__})",
                where=f"{where}, verify={bundle!r:.120}",
                remedy="correct verify in the connection's extra, AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE",
            ) from None


def proxies_in_environment() -> bool:
    """Check whether any variable of the environment names a proxy."""
    return any(value and name.lower().endswith("_proxy") for name, value in os.environ.items())


def botocore_proxy(endpoint: str, configured: Mapping[str, str] | None) -> str | None:
    """Return the proxy that botocore would use for an endpoint.

    :param configured: ``proxies`` of its Config, which come before the environment.
    """
    parts = urlsplit(endpoint)
    if configured is None:
        if not proxies_in_environment():
            return None
        from urllib.request import getproxies, proxy_bypass

        # botocore.utils, should_bypass_proxies and get_environ_proxies.
        configured = {} if proxy_bypass(parts.netloc) else getproxies()
    proxy = configured.get(parts.scheme)
    if not proxy or proxy.startswith(("http:", "https:")):
        return proxy or None
    # botocore.httpsession, _fix_proxy_url.
    return f"http:{proxy}" if proxy.startswith("//") else f"http://{proxy}"


def requests_network(endpoint: str) -> Network:
    """Return what requests, and so Google's and Azure's SDK, would use for an endpoint."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if not proxies_in_environment():
        return Network(endpoint, verify=bundle)
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(endpoint, get_environ_proxies(endpoint))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return Network(endpoint, proxy or None, bundle, proxies_named=True)


def _default_bundle() -> str | None:
    """Return the authorities that botocore and requests trust by default, without importing either."""
    from importlib.util import find_spec

    for library in ("certifi", "botocore"):
        spec = find_spec(library)
        path = os.path.join(os.path.dirname(spec.origin), "cacert.pem") if spec and spec.origin else ""
        if os.path.isfile(path):
            return path
    return None


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
