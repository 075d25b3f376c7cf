"""The page in Airflow's UI, in a real browser on a real API server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from secure_xcom.airflow.plugin.ui.registration import NAME, PREFIX
from tests.e2e.ui_world import BIG, BIG_RUN, HOSTILE_RUN, SHOWN, World, world
from tests.support.servers.browser import PATIENCE_MS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, ViewportSize

WIDE: ViewportSize = {"width": 1440, "height": 1000}
NARROW: ViewportSize = {"width": 800, "height": 1000}
# As a task instance of Airflow 3.4 is named.
ATTEMPT = "01990000-0000-7000-8000-000000000000"
ROOT = "[data-testid=secure-xcom]"
# What a browser says of an answer of the 400s, which tests of refusals ask for.
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 40[13]")


@dataclass
class Window:
    """A logged-in tab of the browser, and what went wrong in it."""

    page: Page
    base: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: self._note(said.type == "error", f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self._note(True, f"error: {error}"))
        self.page.on("request", lambda request: self._note(self._is_foreign(request.url), f"asked {request.url}"))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, wrong: bool, what: str) -> None:
        if wrong:
            self.problems.append(what)

    def _is_foreign(self, url: str) -> bool:
        return not url.startswith((f"{self.base}/", f"blob:{self.base}/", "data:"))

    @property
    def root(self) -> Locator:
        """What the module draws."""
        return self.page.locator(ROOT)

    def go(self, url: str, until: str) -> None:
        """Open an address anew, and wait for a part of our page."""
        self.page.goto(url)
        self.root.locator(until).first.wait_for()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[World]:
    """One Airflow for all of these tests."""
    with world(tmp_path_factory.mktemp("ui") / "demo", migrated) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as started:
        yield started


def _log_in(browser: Browser, here: World, user: str) -> BrowserContext:
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    answer = context.request.post(
        f"{here.airflow.url}/auth/token", data={"username": user, "password": here.password(user)}
    )
    token = answer.json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": here.airflow.url}])
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context


@pytest.fixture(scope="module")
def opened(here: World, browser: Browser) -> Iterator[Window]:
    """A window of the admin's."""
    context = _log_in(browser, here, "admin")
    yield Window(context.new_page(), here.airflow.url)
    context.close()


@pytest.fixture
def window(opened: Window) -> Iterator[Window]:
    """The admin's window; a test fails where its console says an error or something else is asked for anything."""
    opened.problems.clear()
    opened.page.set_viewport_size(WIDE)
    opened.page.emulate_media(color_scheme="light")
    yield opened
    assert opened.problems == []


@pytest.fixture
def another(opened: Window) -> Iterator[Window]:
    """Another window of the admin's, for tests that change how the page starts."""
    context = opened.page.context
    cookies = context.cookies()
    another = Window(context.new_page(), opened.base)
    yield another
    another.page.close()
    context.add_cookies([{"name": each["name"], "value": each["value"], "url": opened.base} for each in cookies])


def _card(window: Window, key: str) -> Locator:
    return window.root.get_by_role("article", name=key, exact=True)


def _violations(window: Window) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(window.page, context={"include": [ROOT]}).response
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]


# --- the tab ------------------------------------------------------------------------------------------------


def test_a_sealed_value_is_readable(window: Window, here: World) -> None:
    """The tab says state, compartment, key, size, who may pull, who had it, and how to open it."""
    window.go(here.shown.tab(), "article")
    card = _card(window, "return_value")
    for text in (
        "state sealed",
        "compartment finance",
        "local keyring finance.json, version 1",
        "every DAG of finance",
    ):
        assert card.get_by_text(text, exact=True).first.is_visible(), text
    assert card.get_by_text(re.compile(r"^\d+ B$")).is_visible()
    had = card.get_by_role("region", name="Who had return_value")
    had.get_by_role("link", name="finance_daily / load").wait_for()
    had.get_by_text("refused", exact=True).wait_for()
    assert card.get_by_text(re.compile("^secure-xcom open ")).is_visible()
    assert "engine" not in window.root.inner_text()


def test_the_preview_is_a_tree_for_the_keyboard(window: Window, here: World) -> None:
    """Arrows move, open and close; the chosen node's path is copied, and so is the command below."""
    window.go(here.shown.tab() + "?key=return_value", "[role=tree]")
    tree = window.root.get_by_role("tree")
    window.root.get_by_role("button", name="Collapse all").click()
    assert tree.get_by_role("treeitem").count() == 1
    tree.get_by_role("treeitem").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowDown"):
        window.page.keyboard.press(key)
    focused = window.page.locator(":focus")
    assert focused.inner_text().startswith("name:")
    assert focused.get_attribute("aria-level") == "3"
    copy = window.root.get_by_role("button", name="Copy path")
    copy.click()
    window.root.get_by_role("status").filter(has_text="Copied").first.wait_for()
    assert window.page.evaluate("navigator.clipboard.readText()") == '["customer"]["name"]'
    window.root.get_by_role("button", name="Expand all").click()
    everything = tree.get_by_role("treeitem").count()
    assert everything > 10
    tree.get_by_role("treeitem").nth(2).focus()
    for key in ("ArrowLeft", "ArrowLeft"):
        window.page.keyboard.press(key)
    assert tree.get_by_role("treeitem").count() < everything
    assert tree.get_by_text("masked").count() == 2
    button = window.root.get_by_role("button", name=re.compile("^Copy the command: Open it"))
    button.click()
    button.get_by_text("Copied").wait_for()
    command = window.root.locator("code", has_text="secure-xcom open").inner_text()
    assert window.page.evaluate("navigator.clipboard.readText()") == command


def test_a_mapped_instance_has_its_own_xcoms(window: Window, here: World) -> None:
    """The tab of one mapped instance shows that instance's XCom only."""
    window.go(here.shown.tab("region", 2), "article")
    assert window.root.get_by_role("status").first.inner_text().startswith("1 XCom, ")
    link = window.root.get_by_role("link", name="finance_daily / region[2]")
    link.wait_for()
    assert link.get_attribute("href", timeout=PATIENCE_MS).endswith("/tasks/region/mapped/2")  # type: ignore[union-attr]


def test_a_frame_shows_columns_and_types(window: Window, here: World) -> None:
    """A DataFrame is a table of its columns."""
    window.go(here.shown.tab("frame"), "article")
    columns = window.root.get_by_role("region", name="Columns of return_value").get_by_role("row")
    assert [row.inner_text().split() for row in columns.all()][1:] == [
        ["region", "str"],
        ["amount", "float"],
        ["paid", "bool"],
    ]


def test_plaintext_stands_out(window: Window, here: World) -> None:
    """A row that was written past the backend says so, what wrote it and what to do."""
    window.go(here.shown.tab("load"), "article")
    card = _card(window, "by_hand")
    assert card.get_by_text("state plaintext", exact=True).is_visible()
    assert card.get_by_text("secure-xcom migrate").is_visible()
    assert card.get_by_text("Written by").is_visible()
    assert "1 with a finding" in window.root.get_by_role("status").first.inner_text()
    # Airflow's own page shows it; ours does not repeat it.
    assert "Ada Lovelace" not in card.inner_text()


def test_shredded_and_expired_say_so(window: Window, here: World) -> None:
    """Neither offers a command that would be refused."""
    window.go(here.shown.tab(), "article")
    for key, state in (("handover", "shredded"), ("tmp_progress", "expired")):
        card = _card(window, key)
        assert card.get_by_text(f"state {state}", exact=True).first.is_visible()
        assert card.get_by_text("secure-xcom open").count() == 0
    assert _card(window, "handover").get_by_text("exclusive", exact=True).is_visible()
    _card(window, "handover").get_by_role("link", name="finance_daily / audit_it").first.wait_for()


def test_airflow_34_tells_which_attempt_is_looked_at(another: Window, here: World) -> None:
    """The tab waits for the prop that comes late, and asks for the attempt that the page's address names."""
    window = another
    window.page.add_init_script(
        """
        let wrapped;
        Object.defineProperty(globalThis, "Sealed XComs", {
            get: () => wrapped,
            set: (component) => {
                wrapped = (props) => {
                    const [late, setLate] = React.useState(undefined);
                    const tell = () => setLate({ id: "ATTEMPT", try_number: 2 });
                    React.useEffect(() => { setTimeout(tell, 300); }, []);
                    return React.createElement(component, { ...props, taskInstance: late });
                };
            },
        });
        """.replace("ATTEMPT", ATTEMPT)
    )
    asked: list[str] = []
    window.page.on(
        "request", lambda request: asked.append(request.url) if "/task-instance?" in request.url else None
    )
    window.go(here.shown.tab("totals"), "article")
    assert len(asked) == 1
    assert asked[0].endswith(f"&ti_id={ATTEMPT}")


# --- the page under Browse ----------------------------------------------------------------------------------


def test_soft_navigation_between_both_entries(window: Window, here: World) -> None:
    """From the page to the tab and back, without loading Airflow's page anew, both stay alive."""
    window.go(f"{here.shown.page}?task_id=extract", "table")
    window.page.evaluate("globalThis.stillHere = true")
    window.root.get_by_role("link", name="finance_daily / extract : return_value").first.click()
    _card(window, "return_value").wait_for()
    assert window.root.get_by_role("article").count() == 1
    window.root.get_by_role("button", name="All keys").click()
    _card(window, "handover").wait_for()
    window.page.get_by_role("button", name="Browse").click()
    window.page.get_by_role("menuitem", name=NAME).click()
    window.root.get_by_role("heading", name=NAME, level=1).wait_for()
    window.page.go_back()
    _card(window, "handover").wait_for()
    assert window.page.evaluate("globalThis.stillHere") is True


def test_filters_and_details(window: Window, here: World) -> None:
    """Filters stand in the address; details open in place; the run and the task are links."""
    window.go(here.shown.page, "table")
    window.root.get_by_label("Task", exact=True).fill("ext*")
    window.root.get_by_label("State", exact=True).select_option("expired")
    window.root.get_by_role("button", name="Apply").click()
    window.page.wait_for_url(re.compile("task_id=ext.*state=expired"))
    row = window.root.get_by_role("row").filter(has_text="tmp_progress")
    row.wait_for()
    assert window.root.get_by_role("row").count() == 2
    row.get_by_role("button", name="Show details of finance_daily / extract : tmp_progress", exact=True).click()
    window.root.get_by_role("heading", name="Who had it").wait_for()
    assert row.get_by_role("link", name=here.shown.run_id).is_visible()
    window.root.get_by_role("button", name="Clear").click()
    window.root.get_by_role("row").nth(50).wait_for()


def test_ten_thousand_rows(window: Window, here: World) -> None:
    """Pages are reached by key, quickly, to and fro; one mapped instance is found among all."""
    window.go(f"{here.shown.page}?run_id={BIG_RUN}", "table")
    cells = window.root.locator("table a[href*='mapped']")
    first = cells.first.inner_text()
    seconds = []
    seen = {text for text in cells.all_inner_texts() if " : " in text}
    for _ in range(3):
        started = time.monotonic()
        with window.page.expect_response(re.compile(r"/secure-xcom/xcoms\?.*after=")):
            window.root.get_by_role("button", name="Next page").click()
        seconds.append(time.monotonic() - started)
        window.root.get_by_text(f"Page {len(seconds) + 1}", exact=True).wait_for()
        window.root.locator("table").wait_for()
        page = {text for text in cells.all_inner_texts() if " : " in text}
        assert len(page) == 50
        assert not page & seen
        seen |= page
    assert min(seconds) < 1
    for _ in range(3):
        window.root.get_by_role("button", name="Previous page").click()
    window.root.get_by_text(first).wait_for()
    tab = here.shown.tab("region", 7, BIG_RUN)
    window.go(tab, "article")
    assert window.root.get_by_role("status").first.inner_text().startswith("1 XCom, ")
    assert here.airflow.sql("SELECT count(*) FROM xcom WHERE run_id = ?", (BIG_RUN,)) == [(BIG,)]


def test_hostile_ids_keys_and_values_are_texts(window: Window, here: World) -> None:
    """Markup, marks that turn the direction of a text, and control characters are shown as what they are."""
    window.go(here.shown.tab("load", run_id=HOSTILE_RUN), "article")
    window.root.get_by_role("button", name="Expand all").first.click()
    assert window.root.get_by_role("heading", name=SHOWN, exact=True).is_visible()
    tree = window.root.get_by_role("tree").first.inner_text()
    assert SHOWN in tree
    assert window.root.get_by_text("state unreadable", exact=True).is_visible()
    _assert_no_markup(window)
    window.go(f"{here.shown.page}?state=unreadable&run_id={HOSTILE_RUN[:10]}*", "table")
    window.go(f"{here.shown.page}?key=plain*&dag_id=finance_daily", "table")
    assert f"plain {SHOWN}" in window.root.inner_text()
    window.root.get_by_role("button", name=re.compile("^Show details of ")).first.click()
    window.root.get_by_role("heading", name="May pull").wait_for()
    _assert_no_markup(window)
    window.root.get_by_role("link", name=HOSTILE_RUN).first.click()
    window.page.wait_for_url(re.compile("/runs/manual__%3Cb"))


def _assert_no_markup(window: Window) -> None:
    assert window.root.locator("img, script, b, iframe, object").count() == 0
    assert "\u202e" not in window.root.inner_text()
    assert "\x07" not in window.root.inner_text()


# --- compartments, refusals ---------------------------------------------------------------------------------


def test_the_policy_in_force(window: Window, here: World) -> None:
    """Compartments with their readers, keys and stores, and the findings of lint."""
    window.go(here.shown.page, "table")
    window.root.get_by_role("link", name="Compartments").click()
    finance = _card(window, "finance")
    finance.wait_for()
    assert "what tasks totals pushed" in finance.inner_text()
    assert "handover" in finance.inner_text()
    assert window.root.get_by_role("heading", name="Findings").is_visible()
    assert window.root.get_by_text(re.compile("access_policy")).first.is_visible()
    assert window.root.get_by_role("region", name="Legal holds").get_by_text("case-12").is_visible()


def test_whoever_may_not_see_the_policy_is_told(browser: Browser, here: World) -> None:
    """A viewer finds no way to the compartments, and a sentence instead of them."""
    context = _log_in(browser, here, "viewer")
    window = Window(context.new_page(), here.airflow.url)
    window.go(here.shown.page, "table")
    assert window.root.get_by_role("link", name="Compartments").count() == 0
    window.go(f"{here.shown.page}?view=compartments", "[role=alert]")
    assert "You are not allowed to read this." in window.root.get_by_role("alert").inner_text()
    assert _violations(window) == []
    assert [problem for problem in window.problems if not REFUSED.search(problem)] == []
    context.close()


def test_whose_session_has_ended_is_told(another: Window, here: World) -> None:
    """Without a login the tab says what to do, and shows nothing any more."""
    window = another
    window.go(here.shown.tab(), "article")
    # Airflow's own page would go to its login first.
    window.page.route("**/ui/**", lambda route: route.abort())
    window.page.route("**/api/v2/**", lambda route: route.abort())
    window.page.context.clear_cookies()
    window.root.get_by_role("button", name="Refresh").click()
    window.root.get_by_role("alert").wait_for()
    assert "Your session has ended." in window.root.get_by_role("alert").inner_text()
    assert window.root.get_by_role("article").count() == 0


def test_the_pencil_is_refused(window: Window, here: World) -> None:
    """What Airflow's own tab sends to store a value is refused, and says why."""
    path = f"/api/v2/dags/finance_daily/dagRuns/{here.shown.run_id}/taskInstances/load/xcomEntries"
    answer = window.page.context.request.post(
        f"{here.airflow.url}{path}", data={"key": "pencil", "value": "plain", "map_index": -1}
    )
    assert answer.status == 403
    assert "plaintext" in answer.json()["detail"]


def test_only_static_files_answer_without_a_login(browser: Browser, here: World) -> None:
    """The module itself is public; no route of ours is."""
    context = browser.new_context()
    base = f"{here.airflow.url}{PREFIX}"
    assert context.request.get(f"{base}/static/secure_xcom.js").status == 200
    for path in ("about", "xcoms", "compartments", "dags/finance_daily/task-instance?run_id=a&task_id=b"):
        assert context.request.get(f"{base}/{path}").status == 401, path
    context.close()


# --- for everybody ------------------------------------------------------------------------------------------

# The first and the last are both themes and both widths.
LOOKS: list[tuple[Literal["light", "dark"], ViewportSize]] = [
    ("light", WIDE),
    ("dark", WIDE),
    ("light", NARROW),
    ("dark", NARROW),
]


def test_axe_finds_nothing(window: Window, here: World) -> None:
    """Tab, page and compartments have no violation and no overflow, light and dark, wide and narrow."""
    places: list[tuple[str, str]] = [
        (here.shown.tab(), "[role=tree]"),
        (here.shown.tab("load", run_id=HOSTILE_RUN), "[role=tree]"),
        (f"{here.shown.page}?key=return_value&task_id=extract", "table"),
        (f"{here.shown.page}?view=compartments", "article"),
    ]
    found: dict[Any, Any] = {}
    for url, until in places:
        window.go(url, until)
        # Colors on their way from one theme to the other are those of none.
        window.page.add_style_tag(content="* { transition: none !important; animation: none !important }")
        details = window.root.get_by_role("button", name=re.compile("^Show details of "))
        if "key=" in url:
            details.first.click()
            window.root.get_by_role("heading", name="May pull").wait_for()
        for scheme, size in LOOKS if url == here.shown.tab() else LOOKS[::3]:
            window.page.emulate_media(color_scheme=scheme)
            window.page.set_viewport_size(size)
            window.page.wait_for_function(f"document.documentElement.classList.contains('{scheme}')")
            if problems := _violations(window):
                found[url, scheme, size["width"]] = problems
            wide = window.page.evaluate(f"document.querySelector('{ROOT}').scrollWidth - innerWidth")
            assert wide <= 0, (url, size)
    assert found == {}


def test_a_missing_component_is_a_plain_message(another: Window, here: World) -> None:
    """An Airflow whose page lacks a part says which, instead of failing."""
    window = another
    window.page.add_init_script(
        """
        let given;
        Object.defineProperty(globalThis, "ChakraUI", {
            get: () => given,
            set: (all) => {
                given = Object.fromEntries(Object.entries(all).filter(([name]) => name !== "Badge"));
            },
        });
        """
    )
    window.page.goto(here.shown.page)
    window.page.get_by_text("this page does not offer ChakraUI.Badge").wait_for()
    assert window.problems == []
