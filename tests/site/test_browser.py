"""The page in a real browser: Chromium, where there is one."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.catalog import load
from orchestrator.cli.authoring.docs import _play
from orchestrator.site.build import PAGE, build
from tests.core.builders import START, journey, send, shop_of

ROOT = Path(__file__).parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
PHONE_PX, DESK_PX = 360, 1280

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on the PATH")

PROBE = (Path(__file__).parent / "probe.js").read_text("utf-8")


def browsed(page, width, tmp_path, *options):
    """Open a page in a frame of a width; return what the probe saw."""
    inside = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    outside = tmp_path / "outside.html"
    outside.write_text(
        "<!doctype html><meta charset=utf-8><body>"
        f'<iframe id="frame" width="{width}" height="900" srcdoc="{html.escape(inside)}"></iframe>'
        f"<script>{PROBE}</script>"
    )
    found = re.search(r"<body>(\{.*\})", _dom(outside, *options))
    assert found is not None, "the probe saw nothing"
    return json.loads(html.unescape(found[1].replace("</body></html>", "")))


def _dom(path, *options):
    done = subprocess.run(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000",
         "--virtual-time-budget=20000", *options, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def page():
    """The page of the shop in the box, with its scenarios."""
    journeys = load(ROOT / "journeys", "test")
    return build(journeys, _play(ROOT / "tests" / "scenarios", journeys), START)[PAGE]


@pytest.mark.parametrize("width", [PHONE_PX, DESK_PX])
def test_the_page_fits_is_readable_and_can_be_walked_through_by_keyboard(page, width, tmp_path):
    seen = browsed(page, width, tmp_path)

    assert seen["wide"] <= width
    assert seen["faint"] == []
    assert seen["unreachable"] == []
    assert seen["pictures"] == len(load(ROOT / "journeys", "test").current)
    assert seen["left"] == 1
    assert {seen["before"], seen["after"]} == {"Dark", "Light"}


def test_the_probe_sees_text_that_is_too_faint_and_pages_that_are_too_wide(page, tmp_path):
    spoilt = page.replace("--soft:#545d63", "--soft:#b9bec1").replace(
        ".cards{", ".lead{min-width:30rem}.cards{"
    )

    seen = browsed(spoilt, PHONE_PX, tmp_path)

    assert any(one.startswith("light") for one in seen["faint"])
    assert seen["wide"] > PHONE_PX


def test_its_own_policy_lets_its_script_run_and_who_likes_it_dark_gets_it_dark(page, tmp_path):
    (tmp_path / PAGE).write_text(page)

    dom = _dom(tmp_path / PAGE, "--blink-settings=preferredColorScheme=0")

    assert re.search(r'id="theme"[^>]*>Light<', dom)


def test_a_hostile_journey_runs_no_script(tmp_path):
    evil = '"><script>window.ran = 1</script><img src=x onerror="window.ran = 1">'
    hostile = journey("j", "seen", [send("a"), {"id": "s", "end": evil}])
    hostile = hostile.model_copy(update={"description": evil, "owner": evil})

    assert not browsed(build(shop_of(hostile), [], START)[PAGE], DESK_PX, tmp_path)["ran"]
