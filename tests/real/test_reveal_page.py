"""The reveal page in a real browser, against a double of the services that it talks to."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import third_reader
from tests.support.reveal_double import Double, reveal_double
from tests.support.servers.browser import PATIENCE_MS, chromium, end_login

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page

VECTORS = Path(__file__).parents[1] / "vectors"
CANARY = "canary-of-the-page-7391"
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\x07<script>alert(2)</script>"
SHOWN = "<img src=x onerror=alert(1)>\\u202egnp.exe\\u0007<script>alert(2)</script>"
# That another origin cannot frame the page is a test's own subject.
VIOLATION = re.compile(r"^(?!.*frame-ancestors).*Content Security Policy")
VALUE = {"customer": {"name": "Ada", "since": 1843}, "amount": 99.5, "password": CANARY, "lines": [1, 2]}


@pytest.fixture(scope="module")
def servers() -> Iterator[Double]:
    """One set of servers for all of these tests."""
    with reveal_double() as double:
        yield double


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def double(servers: Double) -> Double:
    """The servers, as they are at first."""
    servers.answers.clear()
    servers.asked.clear()
    servers.codes.clear()
    servers.coop, servers.denied, servers.mode, servers.hide_after_seconds = False, False, "browser", 60
    servers.seal("return_value", json.dumps(VALUE).encode())
    return servers


@pytest.fixture
def context(browser: Browser, double: Double) -> Iterator[BrowserContext]:
    """A fresh profile; a script error or a violated content policy in any of its pages fails the test."""
    made = browser.new_context(accept_downloads=True)
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    made.set_default_timeout(PATIENCE_MS)
    problems: list[str] = []
    made.on("weberror", lambda error: problems.append(str(error.error)))
    made.on("console", lambda said: problems.append(said.text) if VIOLATION.search(said.text) else None)
    yield made
    made.close()
    assert problems == []


def reveal(page: Page, where: Page | FrameLocator, reason: str = "INC-1234, wrong total") -> None:
    """Give a reason and log in."""
    where.get_by_label("Why do you look at it?").fill(reason)
    with page.expect_popup() as opened:
        where.get_by_role("button", name="Log in to Vault and reveal").click()
    end_login(opened.value, opened.value.locator("#grant").click)


def revealed(context: BrowserContext, double: Double, key: str = "return_value") -> Page:
    """Open the page by itself, log in, and wait for what comes of it."""
    page = context.new_page()
    page.goto(double.page(key))
    reveal(page, page)
    page.locator(".bar, .problem").first.wait_for()
    return page


def wrapped(name: str, data: Any, version: int = 1) -> dict[str, Any]:
    """What Airflow's serialization puts around an object."""
    return {"__classname__": name, "__version__": version, "__data__": data}


# --- the way to a value -------------------------------------------------------------------------------------


def test_a_value_in_the_frame_of_another_origin(context: BrowserContext, double: Double) -> None:
    """The page opens the value in its frame, asks for what the frame's owner named, and gives the token back."""
    page = context.new_page()
    page.goto(double.framed())
    frame = page.frame_locator("iframe")
    reveal(page, frame)
    tree = frame.get_by_role("tree", name="Value of return_value")
    tree.wait_for()
    lines = tree.get_by_role("treeitem").all_inner_texts()
    assert "name: Ada" in [line.strip() for line in lines]
    assert "since: 1843" in [line.strip() for line in lines]
    assert CANARY not in frame.locator("body").inner_text()
    [request] = [body for name, body in double.asked if name == "reveal"]
    assert request["coordinate"] == {
        "dag_id": "finance_daily",
        "run_id": "manual__2026",
        "task_id": "extract",
        "map_index": -1,
        "key": "return_value",
    }
    assert request["reason"] == "INC-1234, wrong total"
    assert request["authorization"] == "Bearer identity-token"
    page.wait_for_timeout(200)
    assert double.tokens == set()
    assert [name for name, _ in double.asked if name == "rendezvous"] == []
    heights = page.evaluate("heard")
    assert {origin for origin, _ in heights} == {double.origin}
    assert all(
        set(data) == {"secure_xcom_height"} and type(data["secure_xcom_height"]) is int for _, data in heights
    )


def test_a_provider_that_cuts_the_opener(context: BrowserContext, double: Double) -> None:
    """With Cross-Origin-Opener-Policy at the provider, the code comes by the rendezvous."""
    double.coop = True
    page = context.new_page()
    page.goto(double.framed())
    reveal(page, page.frame_locator("iframe"))
    page.frame_locator("iframe").get_by_role("tree").wait_for()
    assert [name for name, _ in double.asked if name == "rendezvous"] == ["rendezvous"]


def test_the_keyboard_opens_masks(context: BrowserContext, double: Double) -> None:
    """The tree has one tab stop; arrows move in it, and Enter shows a masked field and no other."""
    double.seal("return_value", json.dumps({"a": {"token": "first-secret"}, "password": CANARY}).encode())
    page = revealed(context, double)
    tree = page.get_by_role("tree")
    assert tree.locator("[tabindex='0']").count() == 1
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-level") == "1"
    page.keyboard.press("End")
    assert focused.inner_text().strip() == "password: masked: show"
    page.keyboard.press("Enter")
    assert focused.inner_text().strip() == f"password: {CANARY}"
    assert page.get_by_role("status").filter(has_text="password is shown.").count() == 1
    page.keyboard.press("ArrowUp")
    assert focused.inner_text().strip() == "token: masked: show"
    page.keyboard.press("ArrowLeft")
    assert focused.inner_text().strip().endswith("a: 1 field")
    page.keyboard.press("ArrowLeft")
    assert tree.get_by_role("treeitem").count() == 3
    assert "first-secret" not in page.locator("body").inner_text()


def test_copy_and_save_leave_out_what_is_masked(context: BrowserContext, double: Double) -> None:
    """The clipboard and the file have what the screen shows, and say how much is left out."""
    page = revealed(context, double)
    page.get_by_role("button", name="Copy").click()
    page.locator(".told").filter(has_text="Fields that are still masked are ***: 1.").wait_for()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == {**VALUE, "password": "***"}
    page.get_by_role("treeitem").filter(has_text="masked: show").click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save").click()
    assert saving.value.suggested_filename == "return_value.json"
    assert json.loads(saving.value.path().read_text()) == VALUE


def test_the_value_hides(context: BrowserContext, double: Double) -> None:
    """A value leaves the page when its time is over, in a hidden tab too, and when somebody hides it."""
    double.hide_after_seconds = 2
    page = revealed(context, double)
    page.get_by_role("treeitem").filter(has_text="masked: show").click()
    assert CANARY in page.content()
    other = context.new_page()
    other.goto(f"{double.foreign}/")
    other.bring_to_front()
    page.get_by_label("Why do you look at it?").wait_for(timeout=5000)
    assert CANARY not in page.content()
    assert "its time was up" in page.locator(".note").inner_text()
    double.hide_after_seconds = 60
    page = revealed(context, double)
    assert re.search(r"hidden in \d\d s", page.locator(".left").inner_text())
    page.get_by_role("button", name="Hide now").click()
    assert page.get_by_role("tree").count() == 0
    assert "Ada" not in page.content()


def test_the_page_reads_every_vector(context: BrowserContext, double: Double) -> None:
    """Chromium's WebCrypto and the page's modules give what every stored vector expects, as in Node."""
    vectors = {
        path.name: vector
        for path in sorted(VECTORS.glob("*.json"))
        if (vector := json.loads(path.read_text()))["kind"] in third_reader.KINDS
    }
    page = context.new_page()
    reader = {"content_type": "text/javascript", "body": third_reader.READER.read_text()}
    page.route("**/static/third_reader.js", lambda route: route.fulfill(**reader))
    page.goto(f"{double.origin}/login")
    outcomes = page.evaluate(
        """async ([vectors, names]) => {
            const { readAll } = await import("/static/third_reader.js");
            const loaded = names.map(async (name) => [name, await import(`/static/${name}.js`)]);
            return readAll(vectors, Object.fromEntries(await Promise.all(loaded)));
        }""",
        [vectors, list(third_reader.MODULES)],
    )
    assert len(outcomes) > 100
    for name, vector in vectors.items():
        try:
            third_reader.check(vector, outcomes[name])
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"{name}: {error!r}") from error


# --- values of every kind -----------------------------------------------------------------------------------


def test_json_of_python(context: BrowserContext, double: Double) -> None:
    """Numbers of any size, NaN, infinities, lone surrogates and odd names are shown exactly as they are."""
    encoded = (
        b'{"big": 123456789012345678901234567890, "small": -0.10, "nan": NaN, "inf": [Infinity, -Infinity], '
        b'"lone": "\\ud800", "raw": "\xed\xa0\x80x", '
        b'"__proto__": {"2": 1, "1": 2}, "g\xc3\xb6": "\xf0\x9f\x98\x80"}'
    )
    double.seal("return_value", encoded)
    page = revealed(context, double)
    lines = [line.strip().lstrip("▼▶").strip() for line in page.get_by_role("treeitem").all_inner_texts()]
    assert lines == [
        "8 fields",
        "big: 123456789012345678901234567890",
        "small: -0.10",
        "nan: NaN",
        "inf: 2 items",
        "0: Infinity",
        "1: -Infinity",
        "lone: \\ud800",
        "raw: \\ud800x",
        "__proto__: 2 fields",
        "2: 1",
        "1: 2",
        "gö: 😀",
    ]
    page.get_by_role("button", name="Copy").click()
    page.locator(".told").filter(has_text="Copied").wait_for()
    assert '"big": 123456789012345678901234567890' in page.evaluate("navigator.clipboard.readText()")


def test_what_airflow_serialises_is_readable(context: BrowserContext, double: Double) -> None:
    """Moments, tuples, decimals and classes of others are named and shown without what is around them."""
    # As airflow.sdk.serde.serialize() writes it, which takes seconds to import.
    when = {"timestamp": 1795341600.123456, "tz": ["UTC", "pendulum.tz.timezone.Timezone", 1, True]}
    value = {
        "when": wrapped("datetime.datetime", when, 2),
        "day": wrapped("datetime.date", "2026-11-22", 2),
        "lasts": wrapped("datetime.timedelta", 3600.0, 2),
        "pair": wrapped("builtins.tuple", [1, wrapped("decimal.Decimal", "1.5")]),
        "password": wrapped("builtins.tuple", ["x", CANARY]),
    }
    double.seal("return_value", json.dumps(value).encode())
    page = revealed(context, double)
    lines = [line.strip().lstrip("▼▶").strip() for line in page.get_by_role("treeitem").all_inner_texts()]
    assert lines == [
        "5 fields",
        "when: datetime 2026-11-22T10:00:00.123456Z",
        "day: date 2026-11-22",
        "lasts: timedelta 3600.0 seconds",
        "pair: tuple 2 items",
        "0: 1",
        "1: Decimal 1.5",
        "password: masked: show",
    ]
    assert CANARY not in page.content()


def test_zstd_and_large_values(context: BrowserContext, double: Double) -> None:
    """A compressed list of 20,000 items comes 200 at a time."""
    import zstandard

    encoded = json.dumps([{"row": row, "text": "x" * 20} for row in range(20_000)]).encode()
    frame = zstandard.ZstdCompressor(level=1, write_checksum=False).compress(encoded)
    double.seal("return_value", frame, compression="zstd")
    page = revealed(context, double)
    items = page.get_by_role("treeitem")
    assert items.count() == 202
    page.keyboard.press("End")
    assert page.locator(":focus").inner_text().strip() == "19,800 parts more: show"
    page.keyboard.press("Enter")
    assert items.count() == 402
    assert page.locator(":focus").inner_text().strip().endswith("200: 2 fields")


def test_frames_are_tables(context: BrowserContext, double: Double) -> None:
    """pandas, polars, Arrow and numpy values are tables; a column with a sensitive name is masked."""
    import numpy as np
    import pandas as pd
    import polars as pl

    from secure_xcom.core.codecs.registry import codec_for

    day = pd.Timestamp("2026-11-22").date()
    values: dict[str, Any] = {
        "pandas": pd.DataFrame(
            {"region": ["north", "süd", None], "amount": [1.5, 2.5, 1e300], "token": [CANARY] * 3}
        ),
        "polars": pl.DataFrame({"big": [2**62, -1, 0], "day": [day] * 3, "t": ["a", "b", "c"]}),
        "numpy": np.array([[1, 2], [3, 2**60]], dtype="<i8"),
    }
    for key, value in values.items():
        name, codec = codec_for(value) or ("", None)
        assert codec is not None
        double.seal(key, b"".join(bytes(part) for part in codec.encode(value) or ()), codec=name)
    page = revealed(context, double, "pandas")
    rows = page.get_by_role("region", name="Rows of pandas").get_by_role("row")
    assert page.get_by_text("pandas DataFrame: 3 rows, 3 columns").is_visible()
    assert [row.locator("td").all_inner_texts() for row in rows.all()[1:]] == [
        ["north", "1.5", "***"],
        ["süd", "2.5", "***"],
        ["null", "1e+300", "***"],
    ]
    assert CANARY not in page.content()
    page.get_by_role("button", name="token is masked: show").click()
    assert page.get_by_role("cell", name=CANARY).count() == 3
    page = revealed(context, double, "polars")
    rows = page.get_by_role("region", name="Rows of polars").get_by_role("row")
    assert rows.nth(1).locator("td").all_inner_texts() == [str(2**62), "2026-11-22", "a"]
    page = revealed(context, double, "numpy")
    assert page.get_by_text("numpy array (2, 2) of <i8: 2 rows, 2 columns").is_visible()
    assert page.get_by_role("row").nth(2).locator("td").all_inner_texts() == ["3", str(2**60)]


def test_a_frame_is_saved_once_its_masks_are_off(context: BrowserContext, double: Double) -> None:
    """A column of structs is masked for a name within it, and a file, which has all, waits for the masks."""
    import pyarrow as pa

    from secure_xcom.core.codecs.registry import codec_for

    table = pa.table({"id": [7], "login": [{"user": "ada", "password": CANARY}]})
    name, codec = codec_for(table) or ("", None)
    assert codec is not None
    double.seal("return_value", b"".join(bytes(part) for part in codec.encode(table) or ()), codec=name)
    page = revealed(context, double)
    assert page.get_by_role("row").nth(1).locator("td").all_inner_texts() == ["7", "***"]
    assert CANARY not in page.content()
    page.get_by_role("button", name="Save").click()
    page.locator(".told").filter(has_text="Not saved").wait_for()
    page.get_by_role("button", name="login is masked: show").click()
    assert CANARY in page.get_by_role("row").nth(1).inner_text()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save").click()
    assert CANARY.encode() in saving.value.path().read_bytes()


def test_bytes_and_unknown_codecs(context: BrowserContext, double: Double) -> None:
    """Bytes are shown as such and saved whole; those of an unknown codec say so. A sensitive key masks all."""
    double.seal("return_value", b"\x00\x01abc", codec="bytes")
    page = revealed(context, double)
    assert page.get_by_text("00 01 61 62 63").is_visible()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save").click()
    assert saving.value.path().read_bytes() == b"\x00\x01abc"
    double.seal("mesh", b"12", codec="acme.mesh", sensitive={"names": [], "exceptions": [], "all": True})
    page = revealed(context, double, "mesh")
    assert page.get_by_text("acme.mesh").count() == 0
    page.get_by_role("button", name="Save").click()
    page.locator(".told").filter(has_text="Not saved").wait_for()
    page.get_by_role("button", name="masked: show").click()
    assert page.get_by_text("2 bytes of the codec acme.mesh").is_visible()
    double.seal("db_password", json.dumps(CANARY).encode())
    page = revealed(context, double, "db_password")
    assert page.get_by_role("treeitem").all_inner_texts() == ["masked: show"]
    page.keyboard.press("Enter")
    assert page.get_by_role("treeitem").all_inner_texts() == [CANARY]


# --- refusals and attacks -----------------------------------------------------------------------------------


def edited(answer: dict[str, Any], what: str) -> None:
    """Change an answer as somebody with the database, the store or the service would."""
    payload = bytearray(base64.b64decode(answer["payload"]))
    if what == "head of another key":
        answer["head"]["key"] = "other"
    elif what == "edited head":
        answer["head"]["created"] = "2026-11-22T11:00:00Z"
    elif what == "edited compartment":
        answer["head"]["compartment"] = "marketing"
    elif what == "other payload":
        payload[0] ^= 1
    elif what == "changed payload":
        payload[-1] ^= 1
    elif what == "cut payload":
        del payload[-1]
    elif what == "exclusive":
        answer["head"]["exclusive"] = "store"
    elif what == "expired":
        answer["head"]["expires"] = "2026-11-22T10:30:00Z"
    elif what == "unknown field":
        answer["head"]["comment"] = "x"
    elif what == "another place at Vault":
        answer["wraps"][0]["mount"] = "transit/../sys/seal?"
    elif what == "no zstd":
        answer["head"]["compression"] = "zstd"
    answer["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    ("what", "error", "by"),
    [
        ("head of another key", "CoordinateMismatch", "this page"),
        ("edited head", "HeadTampered", "this page"),
        ("edited compartment", "UnwrapRefused", "Vault"),
        ("other payload", "PayloadSwapped", "this page"),
        ("changed payload", "PayloadTampered", "this page"),
        ("cut payload", "PayloadTruncated", "this page"),
        ("exclusive", "ClaimRefused", "this page"),
        ("expired", "ReferenceExpired", "this page"),
        ("unknown field", "ReferenceMalformed", "this page"),
        ("another place at Vault", "ContextRefused", "this page"),
    ],
)
def test_what_was_changed_is_refused(
    context: BrowserContext, double: Double, what: str, error: str, by: str
) -> None:
    """Each change ends in the class of docs/reference/format.md, and nothing of the value is shown."""
    edited(double.answers["return_value"], what)
    page = revealed(context, double)
    said = page.get_by_role("alert").inner_text()
    assert said.startswith(f"{error}: ")
    assert f"Refused by {by}." in said
    assert page.get_by_role("tree").count() == 0
    assert "Ada" not in page.content()
    if error in ("CoordinateMismatch", "ClaimRefused", "ReferenceExpired", "ReferenceMalformed", "ContextRefused"):
        assert [name for name, _ in double.asked if name == "decrypt"] == []


def test_refusals_of_others_say_who(context: BrowserContext, double: Double) -> None:
    """What the service refuses has its class and remedy; what Vault refuses is told apart from it."""
    double.answers["return_value"] = {
        "status": 403,
        "error": "AccessRefused",
        "what": HOSTILE,
        "where": "finance",
        "remedy": "Ask for a place in finance-oncall.",
    }
    page = revealed(context, double)
    said = page.get_by_role("alert").inner_text()
    assert said.startswith(f"AccessRefused: {SHOWN}")
    assert "Refused by the reveal service." in said
    assert page.get_by_label("Why do you look at it?").input_value() == "INC-1234, wrong total"
    double.denied = True
    double.seal("return_value", b"1")
    page = revealed(context, double)
    said = page.get_by_role("alert").inner_text()
    assert said.startswith("KeyServiceDenied: ")
    assert "Refused by Vault." in said


def test_markup_in_ids_keys_and_values_is_text(context: BrowserContext, double: Double) -> None:
    """Whatever comes from a row or a value becomes text, with what is unseen written out."""
    answer = double.seal(HOSTILE, json.dumps({HOSTILE: [HOSTILE, {HOSTILE: 1}]}).encode())
    assert answer["head"]["key"] == HOSTILE
    page = revealed(context, double, HOSTILE)
    assert page.locator("#page img, #page script, #page iframe").count() == 0
    text = page.locator("#page").inner_text()
    assert text.count(SHOWN) == 4
    assert "\u202e" not in text
    page.goto("about:blank")
    page.goto(double.page(HOSTILE, dag_id=HOSTILE))
    page.get_by_label("Why do you look at it?").wait_for()
    assert page.locator("#page img").count() == 0
    assert SHOWN in page.locator(".place").inner_text()


def test_only_airflow_frames_the_page(context: BrowserContext, double: Double) -> None:
    """Another origin's frame stays empty, and so do frames of the login's pages."""
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "frame-ancestors" in said.text else None)
    page.goto(double.framed(by=double.foreign))
    page.wait_for_timeout(300)
    assert all("Why do you look at it?" not in frame.content() for frame in page.frames[1:])
    assert len(refused) == 1


def test_the_framing_page_cannot_look_in(context: BrowserContext, double: Double) -> None:
    """A script in Airflow's page reads nothing of the frame, and its messages change nothing."""
    page = context.new_page()
    page.goto(double.framed())
    frame = page.frame_locator("iframe")
    reveal(page, frame)
    frame.get_by_role("tree").wait_for()
    tried = """() => {
        const frame = document.querySelector("iframe");
        const tries = {
            document: () => frame.contentDocument?.body.innerText ?? null,
            window: () => frame.contentWindow.document.body.innerText,
            location: () => frame.contentWindow.location.href,
            storage: () => frame.contentWindow.sessionStorage.length,
            name: () => frame.contentWindow.name,
        };
        const found = {};
        for (const [name, attempt] of Object.entries(tries)) {
            try { found[name] = attempt(); } catch (error) { found[name] = error.name; }
        }
        const messages = [{ state: "x", code: "y" }, { ready: true }, { url: "https://evil.example", state: "s" }];
        for (const data of messages) frame.contentWindow.postMessage(data, "*");
        return found;
    }"""
    found = page.evaluate(tried)
    assert found.pop("document") is None
    assert set(found.values()) == {"SecurityError"}
    assert frame.get_by_role("tree").is_visible()


def test_login_fixation(context: BrowserContext, double: Double) -> None:
    """A victim who follows an attacker's login address logs nobody in: the window did not begin that login."""
    import httpx

    begun = httpx.post(
        f"{double.vault}/v1/auth/oidc/oidc/auth_url",
        json={"client_nonce": "attackers", "redirect_uri": f"{double.origin}/callback", "role": "x"},
    ).json()
    victim = context.new_page()
    victim.goto(begun["data"]["auth_url"])
    victim.locator("#grant").click()
    victim.get_by_text("did not begin this login").wait_for()
    assert "code=" not in victim.url
    assert double.codes == {}
    # A page of the attacker's that opens the login's window gets no word in: it is of another origin.
    attacker = context.new_page()
    attacker.goto(f"{double.foreign}/")
    with attacker.expect_popup() as opened:
        attacker.evaluate("address => { globalThis.victim = window.open(address); }", f"{double.origin}/login")
    opened.value.wait_for_load_state()
    state = begun["data"]["auth_url"].partition("state=")[2].partition("&")[0]
    attacker.evaluate(
        "data => { for (let n = 0; n < 3; n++) victim.postMessage(data, '*'); }",
        {"url": begun["data"]["auth_url"], "state": state},
    )
    opened.value.wait_for_timeout(300)
    assert opened.value.url == f"{double.origin}/login"
    assert opened.value.evaluate("sessionStorage.length") == 0


def test_nothing_is_stored(context: BrowserContext, double: Double) -> None:
    """The page leaves nothing in any storage of the browser, nor in its address or history."""
    page = revealed(context, double)
    page.get_by_role("treeitem").filter(has_text="masked: show").click()
    stored = page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, document.cookie, (await caches.keys()).length, "
        "(await indexedDB.databases()).length, location.search, history.state]"
    )
    assert stored == [0, 0, "", 0, 0, "", None]
    assert context.cookies() == []


def test_no_script_but_the_page_s_own_runs(context: BrowserContext, double: Double) -> None:
    """Inline scripts, eval and markup from text are refused by the content policy and Trusted Types."""
    page = context.new_page()
    page.goto(double.page())
    page.get_by_label("Why do you look at it?").wait_for()
    outcomes = page.evaluate(
        """() => {
            const inline = document.createElement("p");
            const attempts = [
                () => { inline.innerHTML = "<b>x</b>"; },
                () => document.write("x"),
                () => { Object.assign(document.createElement("script"), { src: "/static/json.js" }); },
                () => { document.createElement("img").setAttribute("onerror", "globalThis.ran = 1"); },
            ];
            const outcome = (attempt) => { try { attempt(); return "ran"; } catch (error) { return error.name; } };
            return attempts.map(outcome);
        }"""
    )
    assert outcomes == ["TypeError"] * 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(context: BrowserContext, double: Double, scheme: str) -> None:
    """axe finds no violation while the page asks, refuses, or shows a tree or a table."""
    import pandas as pd
    from axe_playwright_python.sync_playwright import Axe

    from secure_xcom.core.codecs.registry import codec_for

    frame = pd.DataFrame({"region": ["north"], "token": [CANARY]})
    name, codec = codec_for(frame) or ("", None)
    assert codec is not None
    double.seal("frame", b"".join(bytes(part) for part in codec.encode(frame) or ()), codec=name)
    edited(double.seal("cut", b"1"), "cut payload")
    for key in ("return_value", "frame", "cut"):
        page = context.new_page()
        page.goto(double.page(key, scheme=scheme))
        for step in ("ask", "told"):
            if step == "told":
                reveal(page, page)
                page.locator(".bar, .problem").first.wait_for()
            violations = Axe().run(page).response["violations"]
            found = [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations]
            assert found == [], (key, step)
        page.close()
