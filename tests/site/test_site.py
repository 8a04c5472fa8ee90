"""`orchestrator docs`: one page, with everything, that fetches nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

from click.testing import CliRunner

from orchestrator.catalog import load
from orchestrator.cli import orchestrator
from orchestrator.core.language.shop import Shop
from orchestrator.site.build import PAGE, build
from tests.core.builders import START, journey, send, shop_of

ROOT = Path(__file__).parents[2]


class _Page(HTMLParser):
    """Ids, links and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag == "a":
            self.links.append(found["href"])
        self.fetched += [found[name] for name in ("src", "srcset", "data") if name in found]

    def handle_data(self, data):
        self.text += data


def page_of(journeys):
    return build(journeys, [], START)[PAGE]


def test_the_page_of_the_shop_has_every_journey_and_every_link_leads_somewhere(tmp_path):
    done = CliRunner().invoke(
        orchestrator,
        ["docs", str(ROOT / "journeys"), "--scenarios", str(ROOT / "tests/scenarios"),
         "--to", str(tmp_path)],
    )  # fmt: skip
    text = (tmp_path / PAGE).read_text()
    page = _Page(text)

    assert done.exit_code == 0, done.output
    for one in load(ROOT / "journeys", "test").current:
        assert one.name in page.ids
        assert one.owner in page.text
    assert {link.removeprefix("#") for link in page.links} <= page.ids
    assert page.fetched == []
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_a_time_table_stands_in_the_calendar():
    news = journey("news", None, [send("n")], schedule={"cron": "0 9 * * 1"})

    text = page_of(shop_of(news))

    assert len(re.findall(r'<a href="#news">09:00 news</a>', text)) == 4 - 1


def test_a_table_of_every_minute_does_not_fill_the_calendar():
    often = journey("often", None, [send("n")], schedule={"cron": "* * * * *"})

    text = page_of(shop_of(often))

    assert 50 < len(re.findall(r'<a href="#often">', text)) < 120


def test_what_authors_write_is_text_and_never_markup():
    hostile = journey("j", "seen", [{"id": "s", "end": "<img src=x onerror=alert(1)>"}])
    loud = hostile.model_copy(update={"description": "<script>alert(1)</script>"})

    text = page_of(shop_of(loud))

    assert "<script>alert" not in text
    assert "<img" not in text


def test_the_policy_allows_the_one_script_and_style_of_the_page():
    import hashlib
    from base64 import b64encode

    text = page_of(shop_of(journey("j", "seen", [send("a")])))

    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"sha256-{digest}" in text
    assert " style=" not in text
    assert " onclick" not in text


def test_offers_are_shown_with_what_contradicts_them_and_on_their_days():
    offers = {
        "ten": {"description": "For friends.", "code": "TEN"},
        "week": {"gives": {"free_shipping": True}, "from": "2026-11-24", "until": "2026-11-30"},
        "socks": {"gives": {"gift": "socks"}, "stacks_with": ["ten", "week"]},
    }
    tells = journey("tells", "seen", [send("a", offer="ten")])

    text = page_of(shop_of(tells, offers=offers))
    page = _Page(text)

    assert {"offer-ten", "offer-week", "offer-socks"} <= page.ids
    assert {link.removeprefix("#") for link in page.links} <= page.ids
    ten = text.partition('id="offer-ten"')[2].partition("</li>")[0]
    assert 'href="#offer-week"' in ten
    assert 'href="#offer-socks"' not in ten
    assert 'href="#tells"' in ten
    assert "10 % off, code <code>TEN</code>" in ten
    days = re.findall(r'title="\w+, (\d+) (\w+) 2026">(.*?)</td>', text, re.DOTALL)
    told = {f"{day} {month}": cell for day, month, cell in days if "offer-week" in cell}
    assert list(told) == ["24 November", "30 November"]
    assert "week: begins" in told["24 November"]
    assert "week: last day" in told["30 November"]
    assert 'any of these days: <a href="#offer-socks">' in text


def test_a_shop_that_promises_nothing_has_no_part_about_offers():
    assert "offers" not in _Page(page_of(shop_of(journey("j", "seen", [send("a")])))).ids


def test_derived_attributes_and_segments_are_shown_with_who_asks_for_them():
    shop = Shop.model_validate(
        {
            "attributes": {
                "spent": {"sum": "total", "on": "purchase", "currency": "EUR", "within": "365d"},
                "tier": {"of": "spent", "tiers": [{"name": "base"}, {"name": "gold", "from": 500}]},
            },
            "segments": {"members": 'profile.tier == "gold"'},
        }
    )
    club = journey("club", None, [send("a", variables={"t": "profile.tier"})], segment="members")

    text = page_of(shop_of(club, shop=shop))

    assert "the sum of total of purchase, in EUR, in the last 365d" in text
    assert "by spent: base, gold from 500" in text
    assert text.count('<a href="#club">club</a>') >= 2


def test_a_shop_without_derived_attributes_has_no_part_about_them():
    assert "profile" not in _Page(page_of(shop_of(journey("j", "seen", [send("a")])))).ids
