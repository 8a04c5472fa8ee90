"""The screen for people: who gets in, what a form may do, and the pages in a real browser."""

from __future__ import annotations

import base64
import re
import uuid
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from orchestrator.api.screen.sessions import IDLE_SECONDS, LIFE_SECONDS, Sessions
from orchestrator.api.tokens import Scope, Tokens, line_of
from orchestrator.errors import UsageError
from tests.api.browser import BROWSER, Browser
from tests.api.process import ALL, READER, SENDER, TOKENS, ApiProcess
from tests.api.rig import Rig
from tests.runtime.deployment import Deployment, awake, event, purchase

ROOT = Path(__file__).parents[2]
PHONE_PX, DESK_PX = 360, 1280
PROBE = (Path(__file__).parent / "screen_probe.js").read_text("utf-8")
SECRET = "s" * 40
FORM = {"content-type": "application/x-www-form-urlencoded"}


# -- Without Kafka: the door -----------------------------------------------------------------------


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, journeys=ROOT / "journeys")


def browser_of(rig):
    """Return a client that keeps cookies, as a browser does."""
    transport = httpx.ASGITransport(rig.application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def signed_in(client, token=ALL, **form):
    answer = await client.post("/people/session", data={"token": token} | form)
    assert answer.status_code == 303, answer.text
    return re.search(r'name="secret" value="([^"]+)"', (await client.get("/people")).text)[1]


async def test_who_is_not_signed_in_sees_the_form_and_nothing_else(rig):
    async with browser_of(rig) as client:
        for path in ("/people", "/people/customers/abc"):
            answer = await client.get(path)

            assert answer.status_code == 401
            assert 'type="password"' in answer.text
            assert "Sign out" not in answer.text


async def test_the_cookie_is_for_these_pages_and_for_no_script(rig):
    async with browser_of(rig) as client:
        answer = await client.post("/people/session", data={"token": READER, "name": "Eva"})

    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    assert "path=/people" in said
    assert READER not in said
    assert "secure" not in said, "a browser keeps no secure cookie over plain HTTP on loopback"


async def test_off_the_machine_the_cookie_travels_over_tls_only(rig):
    transport = httpx.ASGITransport(rig.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.shop.example") as one:
        answer = await one.post("/people/session", data={"token": READER})

    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("no-such-token", 401), (SENDER, 403)])
async def test_a_token_that_may_not_see_customers_opens_nothing(rig, token, status):
    async with browser_of(rig) as client:
        answer = await client.post("/people/session", data={"token": token})

    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


async def test_a_form_without_the_session_s_secret_does_nothing(rig):
    async with browser_of(rig) as client:
        secret = await signed_in(client)
        for form in ({}, {"secret": "x" * 43}, {"secret": ""}):
            answer = await client.post("/people/find", data={"customer": "ana"} | form)
            assert answer.status_code == 403

        ours = await client.post("/people/find", data={"customer": "ana", "secret": secret})
        theirs = await client.post(
            "/people/find",
            data={"customer": "ana", "secret": secret},
            headers={"sec-fetch-site": "cross-site"},
        )

    assert ours.status_code == 303
    assert theirs.status_code == 403


async def test_who_may_only_read_sees_no_button_and_cannot_act(rig):
    async with browser_of(rig) as client:
        secret = await signed_in(client, READER)
        answer = await client.post("/people/tasks/4be1/claim", data={"secret": secret})

    assert answer.status_code == 403
    assert "no scope “act”" in answer.text


async def test_signing_out_ends_the_session(rig):
    async with browser_of(rig) as client:
        secret = await signed_in(client)
        cookie = dict(client.cookies)
        await client.post("/people/session/end", data={"secret": secret})
        client.cookies.update(cookie)

        assert (await client.get("/people")).status_code == 401


async def test_a_customer_of_another_session_is_not_found(rig):
    async with browser_of(rig) as client:
        await signed_in(client)
        answer = await client.get("/people/customers/bm9ib2R5")

    assert answer.status_code == 404
    assert "earlier session" in answer.text


async def test_pages_run_nothing_fetch_nothing_and_are_not_kept(rig):
    async with browser_of(rig) as client:
        await signed_in(client)
        answer = await client.get("/people")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "form-action 'self'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text


async def test_what_somebody_has_typed_is_shown_and_never_run(rig):
    async with browser_of(rig) as client:
        await signed_in(client, name="<b>Eva</b>")
        answer = await client.get("/people")

    assert "&lt;b&gt;Eva&lt;/b&gt;" in answer.text
    assert "<b>Eva" not in answer.text


async def test_another_copy_with_the_same_secret_honours_who_is_signed_in(tmp_path):
    """Pages, forms, the customer that is looked at, and what is said once: as if it were one."""
    one, other = (
        Rig(tmp_path / name, journeys=ROOT / "journeys", api_session_secret=SecretStr(SECRET))
        for name in ("one", "other")
    )
    async with browser_of(one) as client, browser_of(other) as elsewhere:
        secret = await signed_in(client, name="Eva")
        elsewhere.cookies.update(client.cookies)
        asked = await elsewhere.post("/people/find", data={"customer": "", "secret": secret})
        client.cookies.update(elsewhere.cookies)
        page = await client.get("/people")

    assert asked.status_code == 303
    assert "Nothing is known of a customer with this id" in page.text
    assert "Signed in as Eva via all" in page.text


async def test_without_a_secret_a_session_is_of_its_own_copy_only(tmp_path):
    one, other = (Rig(tmp_path / name, journeys=ROOT / "journeys") for name in ("one", "other"))
    async with browser_of(one) as client, browser_of(other) as elsewhere:
        await signed_in(client)
        elsewhere.cookies.update(client.cookies)

        assert (await elsewhere.get("/people")).status_code == 401


def eva(now=0.0, secret=SECRET, tokens=TOKENS):
    """Return all sessions, and the cookie of Eva's."""
    sessions = Sessions(Tokens.parse(tokens), secret)
    return sessions, sessions.sealed(sessions.begin(ALL, now), now)


def test_sessions_end_when_idle_and_when_old():
    sessions, cookie = eva()

    assert sessions.find(cookie, IDLE_SECONDS) is not None
    assert sessions.find(cookie, IDLE_SECONDS + 1) is None
    now = 0
    while now + IDLE_SECONDS <= LIFE_SECONDS:
        now += IDLE_SECONDS
        cookie = sessions.sealed(sessions.find(cookie, now), now)
    assert sessions.find(cookie, LIFE_SECONDS) is not None
    assert sessions.find(cookie, LIFE_SECONDS + 1) is None


def test_a_session_goes_with_its_token_and_loses_what_the_token_loses():
    _, cookie = eva()
    without = "\n".join(line for line in TOKENS.splitlines() if not line.startswith("all "))
    reads = without + "\n" + line_of("all", [Scope.READ], ALL)

    assert Sessions(Tokens.parse(TOKENS), SECRET).find(cookie, 1).may(Scope.ACT)
    assert not Sessions(Tokens.parse(reads), SECRET).find(cookie, 1).may(Scope.ACT)
    assert Sessions(Tokens.parse(without), SECRET).find(cookie, 1) is None


def test_a_new_secret_still_opens_what_the_old_one_has_sealed_until_that_is_taken_away():
    _, cookie = eva()
    both, new = f"{'n' * 40}\n{SECRET}", "n" * 40

    session = Sessions(Tokens.parse(TOKENS), both).find(cookie, 1)
    renewed = Sessions(Tokens.parse(TOKENS), both).sealed(session, 1)

    assert Sessions(Tokens.parse(TOKENS), new).find(cookie, 1) is None
    assert Sessions(Tokens.parse(TOKENS), new).find(renewed, 1) is not None


def test_who_has_signed_out_stays_out_with_every_copy_of_the_cookie():
    sessions, cookie = eva()
    sessions.end(sessions.find(cookie, 1))

    assert sessions.find(cookie, 1) is None


@pytest.mark.parametrize("cookie", ["", "guessed", "é", "gAAAA" * 2_000])
def test_what_nobody_has_sealed_opens_nothing(cookie):
    assert eva()[0].find(cookie, 0) is None


def test_the_reference_of_a_customer_is_no_cookie_and_of_no_other_session():
    sessions, cookie = eva()
    session, another = sessions.find(cookie, 1), sessions.begin(ALL, 1)
    reference = session.reference("ana|2 ñ")

    assert session.customer(reference) == "ana|2 ñ"
    assert another.customer(reference) is None
    assert session.customer(cookie) is None
    assert sessions.find(reference, 1) is None
    assert "ana" not in reference


def test_neither_token_nor_name_can_be_read_in_the_cookie():
    sessions = Sessions(Tokens.parse(TOKENS), SECRET)
    session = sessions.begin(ALL, 0)
    session.by, session.message = "Eva via all", ("good", "x" * 5_000)
    cookie = sessions.sealed(session, 0)
    held = base64.urlsafe_b64decode(cookie)

    assert b"Eva" not in held
    assert session.token not in held
    assert len(cookie) < 1_500, "a browser keeps 4,096 bytes"


def test_a_secret_that_could_be_guessed_is_refused():
    with pytest.raises(UsageError, match=r"api_session_secret: line 2 has 5 characters"):
        Sessions(Tokens.parse(TOKENS), f"{SECRET}\nshort")


# -- A browser, a worker, Kafka --------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(kafka, tmp_path_factory):
    """The shop in the box, with a customer who has bought, has a case and was written to."""
    mark = uuid.uuid4().hex[:8]
    folder = tmp_path_factory.mktemp("screen")
    deployment = Deployment(
        kafka.bootstrap_servers,
        f"s{mark}.",
        f"app-{mark}",
        folder,
        journeys=awake(ROOT / "journeys", folder),
    )
    deployment.start()
    api = ApiProcess(deployment, TOKENS)
    api.start()
    profile = {
        "first_name": "Ana <i>", "last_name": "Ruiz", "email": "ana@shop.example",
        "locale": "es-ES", "customer_id": "ana-1",
    }  # fmt: skip
    consent = {"channel": "email", "class": "promotional", "granted": True, "proof": "form"}
    cart = {"cart_id": "k1", "items": [{"sku": "boots-3", "category": "outdoor"}]}
    events = [
        event("profile.updated", "p1", "ana-1", attributes=profile),
        event("consent.updated", "k1", "ana-1", **consent),
        purchase("ana-1"),
        event("cart.abandoned", "c1", "ana-1", **cart),
        event("case.opened", "o1", "ana-1", case_id="c-7", subject="a pole is missing"),
    ]
    answer = api.client.post(
        "/v1/events", json=events, headers={"content-type": "application/cloudevents-batch+json"}
    )
    seen = api.client.get(f"/v1/customers/ana-1?after={answer.json()['receipt']}")
    assert seen.status_code == 200, seen.text
    yield api
    api.stop()
    deployment.stop()


@pytest.fixture
def browser(tmp_path):
    if not BROWSER:
        pytest.skip("no Chromium on the PATH")
    one = Browser(tmp_path / "profile")
    one.size(DESK_PX, 900)
    yield one
    one.close()


def address(shop):
    return str(shop.client.base_url).rstrip("/") + "/people"


def enter(browser, shop, token=ALL, name="Eva"):
    """Sign in with the keyboard alone."""
    browser.go(address(shop))
    browser.fill("#name", name)
    browser.press("Tab")
    assert browser.run("document.activeElement.id") == "token"
    browser.fill("#token", token)
    with browser.loading():
        browser.press("Enter")


def open_ana(browser):
    browser.fill('input[name="customer"]', "ana-1")
    with browser.loading():
        browser.press("Enter")


@pytest.mark.timeout(240)
def test_an_agent_does_a_day_s_work_in_the_browser(shop, browser):
    enter(browser, shop)
    assert "Signed in as Eva via all" in browser.text()
    browser.click('form[action$="/claim"] button')
    assert "The task is yours." in browser.text()
    assert "Ana <i> Ruiz" in browser.text()
    assert "ana-1" not in browser.run("location.href")

    browser.click('button[value="started"]')
    assert "Promotions wait while you talk." in browser.text()
    browser.click('button[value="ended"]')
    assert "Promotions may go out again." in browser.text()

    browser.click('button[formaction$="/offer"]')
    assert "It is promised" in browser.text()
    browser.click('button[value="offer.rejected"]')
    assert "It is recorded" in browser.text()
    browser.fill("#text", "calls back <b>at five</b>")
    browser.click("form:has(#text) button")
    assert "calls back <b>at five</b>" in browser.text()

    journeys = browser.run("document.querySelectorAll('form[action$=\"/exit\"]').length")
    browser.click('form[action$="/exit"] button')
    assert "is out of this journey" in browser.text()
    left = browser.run("document.querySelectorAll('form[action$=\"/exit\"]').length")
    assert left == journeys - 1

    if browser.run("!!document.querySelector('input[name=\"outcome\"]')"):
        browser.fill('input[name="outcome"]', "solved")
        browser.click('form[action$="/close"] button')
        assert "The task is closed." in browser.text()
    assert browser.complaints() == []
    cookie = browser.cookies()[0]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    browser.click('form[action$="/session/end"] button')
    assert "Sign in" in browser.text()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [PHONE_PX, DESK_PX])
def test_the_pages_fit_are_readable_and_can_be_walked_through_by_keyboard(shop, browser, width):
    browser.size(width, 800)
    pages = {}

    def look(name):
        for theme in ("light", "dark"):
            browser.theme(theme)
            pages[name, theme] = browser.run(PROBE)

    browser.go(address(shop))
    look("sign in")
    enter(browser, shop)
    look("home")
    open_ana(browser)
    look("customer")

    for page, seen in pages.items():
        assert seen["wide"] <= width, page
        assert seen["faint"] == [], page
        assert seen["unreachable"] == [], page
        assert seen["unlabelled"] == [], page
        assert seen["main"] == 1, page
        assert seen["headings"] == 1, page
    assert browser.complaints() == []


@pytest.mark.timeout(240)
def test_no_id_of_a_customer_stands_in_an_address_or_in_the_log(shop, browser):
    enter(browser, shop)
    open_ana(browser)

    addresses = browser.run(
        "[location.href, ...[...document.querySelectorAll('a, form')]"
        ".map(one => one.href || one.action)].join(' ')"
    )
    assert "ana-1" not in addresses
    assert "ana-1" not in shop.log.read_text()
    assert ALL not in shop.log.read_text()
