"""The page's files and the headers of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.reveal.site import Site

STATIC = "static"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_FILE_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page."""

    body: bytes = field(repr=False)
    content_type: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """Return all files of the page by their path below ``static``, read once: a request never names a file."""
    by_path: dict[str, PageFile] = {}
    waiting = [("", files("secure_xcom.reveal") / STATIC)]
    while waiting:
        prefix, folder = waiting.pop()
        if not folder.is_dir():
            continue
        for entry in folder.iterdir():
            content_type = _TYPES.get(entry.name.rpartition(".")[2])
            if entry.is_dir():
                waiting.append((f"{prefix}{entry.name}/", entry))
            elif content_type is not None:
                by_path[f"{prefix}{entry.name}"] = PageFile(entry.read_bytes(), content_type)
    return by_path


def headers(site: Site | None, *, framed: bool = False, popup: bool = False) -> dict[str, str]:
    """Return the headers that every answer has.

    :param site: where the page is; None where the access policy cannot be read, and then nothing may be framed,
        run or connected to.
    :param framed: the page, which Airflow's tab frames; nothing else may be in a frame.
    :param popup: a page of the login window, which the page in the frame talks to. Any other opener policy than
        none would cut it off, because the top of that frame is Airflow (HTML, "cross-origin opener policies").
    """
    ancestors = site.framed_by if site is not None and site.framed_by and framed else "'none'"
    connect = " ".join(["'self'", *(site.connects_to if site is not None else ())])
    allowed = f"script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; " if site else ""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; {allowed}frame-ancestors {ancestors}; base-uri 'none'; form-action 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "unsafe-none" if popup else "same-origin-allow-popups",
        "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
