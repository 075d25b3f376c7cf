"""Reveals in a real browser: a real Airflow, OpenBao, identity provider and reveal service."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import httpx
import pytest

from tests.e2e.hunt import Hunt, forms
from tests.e2e.reveal_deployment import (
    CANARY,
    DAG,
    HOSTILE,
    RUN,
    SEED,
    RevealDeployment,
    deployed,
)
from tests.support.reveal_world import ANA, MIA, RevealWorld
from tests.support.servers.browser import PATIENCE_MS, end_login, profiled_chromium

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, FrameLocator, Page, Request, Route

Scheme = Literal["light", "dark"]
REASON = "INC-1234, wrong total on Monday"


@dataclass
class Scene:
    """All that runs, a browser with a profile of its own, and the secrets that went through it.

    :ivar secrets: tokens, codes and data keys, which nothing may keep.
    """

    world: RevealWorld
    deployment: RevealDeployment
    context: BrowserContext
    profile: Path
    secrets: set[str] = field(default_factory=set, repr=False)
    problems: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        """Keep what is secret of a request."""
        headers = request.headers
        self.secrets.update(
            value
            for value in (headers.get("x-vault-token"), headers.get("authorization", "")[len("Bearer ") :])
            if value
        )

    def in_tab(self, key: str, scheme: Scheme = "light") -> tuple[Page, FrameLocator]:
        """Open the tab with an XCom, and the reveal page in it."""
        page = self.context.new_page()
        page.emulate_media(color_scheme=scheme)
        page.goto(self.deployment.tab(key))
        page.get_by_role("button", name=f"Reveal {written(key)}").click()
        return page, page.frame_locator("iframe[title^='Reveal ']")

    def alone(self, key: str) -> Page:
        """Open the reveal page by itself."""
        page = self.context.new_page()
        page.goto(self.deployment.page(key))
        return page

    def reveal(self, page: Page, where: Page | FrameLocator, who: str = ANA) -> float:
        """Log in as somebody, and return how many seconds it took from the provider's button to the outcome."""
        where.get_by_label("Why do you look at it?").fill(REASON)
        with page.expect_popup() as opened:
            where.get_by_role("button", name="Log in to Vault and reveal").click()
        form = opened.value
        form.locator("input[name=sub]").fill(who)
        started = time.monotonic()
        end_login(form, lambda: form.keyboard.press("Enter"))
        where.locator(".bar, .problem").first.wait_for()
        return time.monotonic() - started


def written(key: str) -> str:
    """A key as pages show it: what turns the direction of a text is written out."""
    return key.replace("\u202e", "\\u202e")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Scene]:
    """One deployment and one browser for all of these tests."""
    folder = tmp_path_factory.mktemp("reveal")
    with (
        deployed(folder, migrated) as (world, deployment),
        profiled_chromium(folder / "profile", viewport={"width": 1440, "height": 1000}) as context,
    ):
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([deployment.cookie()])  # type: ignore[list-item]  # a cookie as Playwright has it
        scene = Scene(world, deployment, context, folder / "profile")
        context.on("weberror", lambda error: scene.problems.append(str(error.error)))
        context.on("request", scene.note)
        yield scene


@pytest.fixture
def scene(opened: Scene) -> Iterator[Scene]:
    """The scene; a test fails where a script of a page fails. Its pages are closed."""
    opened.problems.clear()
    yield opened
    for page in opened.context.pages[1:]:
        page.close()
    assert opened.problems == []


def test_a_viewer_sees_the_value_in_the_tab(scene: Scene) -> None:
    """A login at the provider leads to the value and to an event, and Airflow's page cannot look in."""
    page, frame = scene.in_tab("return_value")
    seconds = scene.reveal(page, frame)
    tree = frame.get_by_role("tree", name="Value of return_value")
    lines = [line.strip().lstrip("▼▶").strip() for line in tree.get_by_role("treeitem").all_inner_texts()]
    assert "name: Ada Lovelace" in lines
    assert f"order: {2**70}" in lines
    assert "password: masked: show" in lines
    tree.get_by_text("masked: show").click()
    assert tree.get_by_text(f"password: {CANARY}").is_visible()
    assert f"opened in this browser by {ANA}" in frame.locator(".bar").inner_text()
    [event] = scene.deployment.events()
    assert (event["operator"], event["reason"], event["rule"]) == (ANA, REASON, "viewers[0]")
    producer = event["producer"]
    assert (producer["dag_id"], producer["run_id"], producer["key"]) == (DAG, RUN, "return_value")
    assert (event["outcome"], event["sensitive"]) == ("ok", True)
    # What a script of Airflow's page can reach: nothing of the frame but its height.
    seen = page.evaluate(
        """() => {
            const { contentWindow, contentDocument } = document.querySelector("iframe[title^=Reveal]");
            const attempt = (look) => { try { return String(look()); } catch (error) { return error.name; } };
            return [String(contentDocument), attempt(() => contentWindow.document.body.innerText),
                attempt(() => contentWindow.location.href), document.body.innerText];
        }"""
    )
    assert seen[:3] == ["null", "SecurityError", "SecurityError"]
    assert CANARY not in seen[3]
    print(f"from the provider's form to the value: {seconds:.2f} s")
    frame.get_by_role("button", name="Hide now").click()
    frame.get_by_label("Why do you look at it?").wait_for()
    assert all(CANARY not in each.content() for each in page.frames)


def test_the_tab_with_the_page_is_accessible(scene: Scene) -> None:
    """Airflow's dark theme reaches the frame, and axe finds no violation in the tab with the page in it."""
    from axe_playwright_python.sync_playwright import Axe

    for scheme in get_args(Scheme):
        page, frame = scene.in_tab("return_value", scheme)
        frame.get_by_label("Why do you look at it?").wait_for()
        source = page.locator("iframe[title^='Reveal ']").get_attribute("src") or ""
        assert source.endswith(f"&scheme={scheme}")
        response = Axe().run(page, context={"include": ["[data-testid=secure-xcom]"]}).response
        assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in response["violations"]] == []
        page.close()


def test_the_token_ends_with_the_reveal(scene: Scene) -> None:
    """Vault knows the person's token no more as soon as the value is there."""
    page = scene.alone("return_value")
    before = set(scene.secrets)
    scene.reveal(page, page)
    page.wait_for_timeout(500)
    tokens = {secret for secret in scene.secrets - before if secret.startswith(("s.", "hvs."))}
    assert len(tokens) == 1
    [token] = tokens
    assert scene.world.identity_token(token).status_code == 403


def test_a_provider_with_an_opener_policy(scene: Scene) -> None:
    """Cross-Origin-Opener-Policy at the provider cuts the window off, and the login goes on."""

    def add_policy(route: Route) -> None:
        answer = route.fetch(max_redirects=0)
        route.fulfill(response=answer, headers={**answer.headers, "Cross-Origin-Opener-Policy": "same-origin"})

    left: list[str] = []
    scene.context.on(
        "request", lambda request: left.append(request.method) if "/v1/logins/" in request.url else None
    )
    scene.context.route(f"{scene.world.provider}/**", add_policy)
    try:
        page, frame = scene.in_tab("frame")
        scene.reveal(page, frame)
    finally:
        scene.context.unroute(f"{scene.world.provider}/**")
    assert "PUT" in left
    assert frame.get_by_text("pandas DataFrame: 2 rows, 3 columns").is_visible()
    assert frame.get_by_role("button", name="token is masked: show").is_visible()


def test_people_of_other_groups_are_refused(scene: Scene) -> None:
    """The service refuses by the access policy, and that is an event."""
    page = scene.alone("return_value")
    scene.reveal(page, page, MIA)
    said = page.get_by_role("alert").inner_text()
    assert said.startswith("AccessRefused: ")
    assert "Refused by the reveal service." in said
    assert (scene.deployment.events()[-1]["operator"], scene.deployment.events()[-1]["outcome"]) == (
        MIA,
        "refused",
    )


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("edited", "HeadTampered"),
        ("swapped", "PayloadSwapped"),
        ("changed", "PayloadTampered"),
        ("cut", "PayloadTruncated"),
    ],
)
def test_what_was_changed_does_not_open(scene: Scene, key: str, error: str) -> None:
    """A row that was edited, and an object that was exchanged, changed or cut, end in their classes."""
    deployment = scene.deployment
    payload = deployment.payload(key)
    sealed = bytearray(payload.read_bytes())
    if key == "edited":
        deployment.edit(key, {"created": "2026-11-01T00:00:00Z"})
    elif key == "swapped":
        shutil.copyfile(deployment.payload("changed"), payload)
    elif key == "changed":
        sealed[-1] ^= 1
        payload.write_bytes(sealed)
    else:
        payload.write_bytes(sealed[:-1])
    page = scene.alone(key)
    scene.reveal(page, page)
    assert page.get_by_role("alert").inner_text().startswith(f"{error}: ")
    assert page.get_by_role("tree").count() == 0
    assert CANARY not in page.content()


def test_hostile_ids_and_values_are_text(scene: Scene) -> None:
    """Markup in a key and in a value stays text, in Airflow's page and in the frame."""
    page, frame = scene.in_tab(HOSTILE)
    scene.reveal(page, frame)
    assert frame.locator("#page").inner_text().count(written(HOSTILE)) == 3
    assert frame.locator("#page img, #page script").count() == 0


def test_nobody_else_frames_the_page(scene: Scene) -> None:
    """The same Airflow under another name is another origin, whose frame stays empty."""
    page = scene.context.new_page()
    page.goto(f"{scene.deployment.airflow.url}/api/v2/version")
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "frame-ancestors" in said.text else None)
    for path in ("/", "/login", "/callback"):
        page.evaluate(
            "src => document.body.append(Object.assign(document.createElement('iframe'), { src }))",
            f"{scene.deployment.origin}{path}",
        )
    page.wait_for_timeout(1000)
    assert len(refused) == 3
    assert page.get_by_role("alert").count() == 0


def test_login_fixation(scene: Scene) -> None:
    """A victim who follows an attacker's login address at the real provider logs nobody in."""
    deployment, world = scene.deployment, scene.world
    start = {
        "role": "secure-xcom-reveal",
        "redirect_uri": f"{deployment.origin}/callback",
        "client_nonce": "attackers",
    }
    url = world.vault.do("POST", "auth/oidc/oidc/auth_url", start, token="")["data"]["auth_url"]
    victim = scene.context.new_page()
    victim.goto(url)
    victim.locator("input[name=sub]").fill(ANA)
    victim.keyboard.press("Enter")
    victim.get_by_text("did not begin this login").wait_for()
    assert victim.url == f"{deployment.origin}/callback"
    state = url.partition("state=")[2].partition("&")[0]
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{deployment.origin}/v1/logins/{state}", timeout=1)


def test_nothing_keeps_what_was_revealed(scene: Scene) -> None:
    """The value, tokens, codes and data keys are in no file of the browser, Airflow, Vault and the service.

    It ends the browser, so it is the last.
    """
    page, frame = scene.in_tab("return_value")
    scene.reveal(page, frame)
    frame.get_by_text("masked: show").click()
    assert frame.get_by_text(f"password: {CANARY}").is_visible()
    secrets = {secret for secret in scene.secrets if len(secret) > 20}
    assert len(secrets) >= 4
    scene.problems.clear()
    scene.context.close()
    hunt = Hunt(SEED, ["revealed"])
    looked_for = [form for secret in (CANARY, *secrets) for form in forms(secret).values()]
    kept: list[str] = []
    searched = 0
    for root in (scene.profile, scene.deployment.folder, scene.world.folder):
        for file in (file for file in root.rglob("*") if file.is_file() and not file.is_symlink()):
            data = file.read_bytes()
            searched += len(data)
            kept += [str(file) for form in looked_for if form in data]
            # Unfolding what is packed takes a second for each megabyte, and a profile has many.
            if root != scene.profile:
                hunt.search(data, "file", str(file))
    hunt.search_database(scene.deployment.airflow.database)
    assert searched > 2_000_000
    assert (scene.profile / "Default").is_dir()
    assert hunt.finds == set()
    assert kept == []
