"""Takes the pictures of docs/pictures from real runs. Run by hand, where one of them has become wrong.

    .venv/bin/python scripts/take_pictures.py [demo] [ui] [page] [reveal]

``demo`` runs ``secure-xcom demo`` on a terminal of its own and draws what it printed as SVG. ``ui`` runs a DAG
with keys in a real OpenBao and payloads in a real S3 server, starts Airflow's API server, and photographs the
XCom tab with Chromium (``CHROMIUM``, /usr/bin/chromium). ``page`` runs ``secure-xcom demo --ui`` and photographs
the page that is ours. ``reveal`` runs a real OpenBao, an identity provider, Airflow and the reveal service, and
photographs a reveal. Look at what came out before it is committed.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from secure_xcom.demo.ui import Shown

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 120
# The beginnings of the demo's scenes: what is in a picture, from the first scene up to the second.
SCENES = {
    "demo-value.svg": ("One value:", "All values of the run"),
    "demo-attacks.svg": ("Thieves,", "The access log"),
}
DAG = """
from airflow.sdk import dag, task


@dag(schedule=None)
def invoices():
    @task(multiple_outputs=False)
    def extract():
        return {
            "customer": "Ada Lovelace",
            "amount": 99.5,
            "iban": "DE00 0000 0000 0000 0000 00",
            "password": "an-example-and-no-secret",
        }

    @task
    def load():
        pass

    extract() >> load()


invoices()
"""


def demo() -> None:
    """Take the demo's scenes, a picture each."""
    lines = _on_a_terminal([str(Path(sys.executable).parent / "secure-xcom"), "demo"]).splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    for name, (first, end) in SCENES.items():
        begin, stop = (
            next(place for place, line in enumerate(plain) if line.startswith(text)) for text in (first, end)
        )
        _draw("\n".join(lines[begin:stop]).rstrip(), PICTURES / name)


def _on_a_terminal(command: list[str]) -> str:
    """Return what a command prints on a terminal of our width, with its colors."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 400, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(  # noqa: S603  # our own command
        command, stdin=its, stdout=its, stderr=subprocess.DEVNULL, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(its)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # How Linux says that the other side has closed the terminal.
            break
        if not part:
            break
        said += part
    if process.wait():
        sys.exit(f"{command} ended with {process.returncode}")
    return said.decode().replace("\r\n", "\n")


def _draw(text: str, path: Path) -> None:
    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME
    from rich.text import Text

    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(text), soft_wrap=True)
    drawn = console.export_svg(title="make demo", theme=DEFAULT_TERMINAL_THEME, unique_id=path.stem)
    # The font of the export would be fetched from a third party.
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def ui() -> None:
    """Take the XCom tab of a task, in Airflow's own user interface."""
    sys.path.insert(0, str(ROOT))
    from secure_xcom.demo.local_airflow import LocalAirflow
    from tests.support.servers.s3_server import s3_server
    from tests.support.servers.vault_found import binary_of
    from tests.support.servers.vault_server import dev_server

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        vault = stack.enter_context(dev_server(binary_of("openbao"), folder, "openbao"))
        vault.do("POST", "sys/mounts/transit", {"type": "transit"})
        vault.do("POST", "transit/keys/xcom-finance", {"derived": True})
        store = stack.enter_context(s3_server())
        store.client().create_bucket(Bucket="finance-xcom")
        at = urlsplit(vault.address)
        connections = {
            "vault_xcom": {
                "conn_type": "vault",
                "host": at.hostname,
                "port": at.port,
                "password": vault.token,
                "extra": {"auth_type": "token", "use_tls": False},
            },
            "s3_xcom": {
                "conn_type": "aws",
                "login": store.root.access_key,
                "password": store.root.secret_key,
                "extra": {"endpoint_url": store.endpoint, "region_name": "eu-central-1"},
            },
        }
        airflow = stack.enter_context(
            LocalAirflow(
                folder / "airflow",
                {
                    "core.simple_auth_manager_all_admins": "True",
                    "core.xcom_backend": "secure_xcom.SecureXComBackend",
                    "secure_xcom.key_uris": "vault://vault_xcom/transit/keys/xcom-finance",
                    "secure_xcom.store_uri": "s3://s3_xcom@finance-xcom/sealed",
                    "secure_xcom.audit_sinks": f"file://{folder}/access-log.jsonl",
                    "secure_xcom.sensitive_names": "iban",
                },
                environment={
                    f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()
                },
            )
        )
        (airflow.dags_folder / "invoices.py").write_text(DAG)
        airflow.migrate()
        done = airflow.airflow("dags", "test", "invoices")
        if done.returncode:
            sys.exit(done.stdout)
        airflow.start("api-server")
        (run,) = airflow.sql("SELECT run_id FROM dag_run")[0]
        place = f"/dags/invoices/runs/{quote(run, safe='')}/tasks/extract/xcom"
        _photograph(f"http://127.0.0.1:{airflow.port}{place}", PICTURES / "xcom-tab.png")


def _photograph(url: str, path: Path) -> None:
    """Take the tab at its end, where the preview stands, without what is beside the tab."""
    with _chromium() as browser:
        page = browser.new_page(viewport={"width": 1180, "height": 1000}, color_scheme="light")
        page.goto(url)
        page.get_by_label("Expand all").click(timeout=60_000)
        value = page.locator(".monaco-editor").first
        value.locator(".view-line").first.click()
        page.keyboard.press("Control+End")
        page.get_by_text("preview").first.wait_for()
        page.mouse.move(0, 0)
        # Until the last line has its colors.
        page.wait_for_timeout(2000)
        top, end = page.get_by_text("Logs", exact=True).first.bounding_box(), value.bounding_box()
        if top is None or end is None:
            sys.exit("the tab is not there")
        x, y = top["x"] - 9, top["y"] - 8
        page.screenshot(
            path=path, clip={"x": x, "y": y, "width": 1172 - x, "height": end["y"] + end["height"] + 16 - y}
        )


@contextmanager
def _chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


def _silent(what: str) -> nullcontext[None]:  # noqa: ARG001  # a step is told what it is
    return nullcontext()


def page() -> None:
    """Our tab and our page, as the demo's Airflow shows them."""
    sys.path.insert(0, str(ROOT))
    from secure_xcom.demo import ui as demo_ui

    # A short name, because the picture shows where payloads and keys lie.
    with (
        tempfile.TemporaryDirectory(prefix="demo-") as name,
        demo_ui.shown(Path(name).resolve(), _silent) as made,
        _chromium() as browser,
    ):
        _photograph_page(browser, made)


def _photograph_page(browser: Browser, made: Shown) -> None:
    window = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="light")
    user, password = made.airflow.login
    answer = window.request.post(f"{made.airflow.url}/auth/token", data={"username": user, "password": password})
    window.context.add_cookies(
        [{"name": "_token", "value": answer.json()["access_token"], "url": made.airflow.url}]
    )
    places = (
        ("ui-tab", made.tab() + "?key=return_value", "article table", "light", 1060),
        ("ui-dark", made.tab() + "?key=return_value", "article table", "dark", 900),
        ("ui-plaintext", made.tab("load"), "article", "light", 620),
        ("ui-browse", made.page, "table", "light", 900),
        ("ui-compartments", f"{made.page}?view=compartments", "article", "light", 900),
    )
    for name, url, until, scheme, height in places:
        window.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a literal
        window.set_viewport_size({"width": 1180, "height": height})
        window.goto(url)
        window.locator(f"[data-testid=secure-xcom] {until}").first.wait_for(timeout=60_000)
        window.wait_for_load_state("networkidle")
        window.screenshot(path=PICTURES / f"{name}.png")


def reveal() -> None:
    """Take a reveal in our tab: the question, and the value."""
    sys.path.insert(0, str(ROOT))
    from secure_xcom.demo.local_airflow import LocalAirflow
    from tests.e2e.reveal_deployment import deployed
    from tests.support.reveal_world import ANA

    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name).resolve()
        with LocalAirflow(folder / "migrated") as airflow:
            airflow.migrate()
        with deployed(folder, airflow.database) as (_, deployment), _chromium() as browser:
            window = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="light")
            window.context.add_cookies([deployment.cookie()])  # type: ignore[list-item]  # a plain dict
            window.set_default_timeout(240_000)
            window.goto(deployment.tab("return_value"))
            window.get_by_role("button", name="Reveal return_value").click(timeout=60_000)
            frame = window.frame_locator("iframe[title='Reveal return_value']")
            frame.get_by_label("Why do you look at it?").fill("INC-1234, wrong total on Monday")
            window.wait_for_load_state("networkidle")
            window.screenshot(path=PICTURES / "reveal-ask.png")
            window.set_viewport_size({"width": 1180, "height": 1300})
            with window.expect_popup() as opened:
                frame.get_by_role("button", name="Log in to Vault and reveal").click()
            opened.value.locator("input[name=sub]").fill(ANA)
            opened.value.keyboard.press("Enter")
            frame.get_by_role("tree").wait_for()
            window.wait_for_timeout(1000)
            top = window.get_by_role("button", name="Close return_value").bounding_box()
            if top is None:
                sys.exit("the frame is not there")
            # From the frame's button on: the tab above it is in the other picture.
            x, y = top["x"] - 20, top["y"] - 8
            clip = {"x": x, "y": y, "width": 1180 - x, "height": 1300 - y}
            window.screenshot(path=PICTURES / "reveal-value.png", clip=clip)  # type: ignore[arg-type]  # a plain dict


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or ["demo", "ui", "page"]:
        {"demo": demo, "ui": ui, "page": page, "reveal": reveal}[wanted]()
