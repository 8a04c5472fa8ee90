"""The report is one file that needs nobody else, and says what the summary says."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from orchestrator.demo.ana import PANELS, Entry, Sight
from orchestrator.demo.ledger import Pause, Summary, Verdict
from orchestrator.demo.report import Day, why_not_sent, write_report
from orchestrator.timeline.explanation import explain
from tests.timeline.test_explanation import a_purchase_that_overtakes_an_email

from .test_side_by_side import a_comparison

VOID = {"meta", "br", "link", "img", "hr", "input"}


def a_summary(**changes):
    values = {
        "seconds": 30.0,
        "verdict": Verdict(purchases=4, lost=0, doubled=0, commands=20, unread=0),
        "counters": {"events": 120, "purchases": 4, "exits": 9, "enrollments": 30},
        "commands": {"email": 12, "ads": 8},
        "refusals": {"already_owned": 3, "reentry": 1},
        "dropped": {"cancelled": 2, "fenced": 1},
        "dead_letters": {"invalid_json": 1},
        "samples": ((1.0, 7.0), (5.0, 9.0), (16.0, 6500.0), (25.0, 8.0)),
        "pauses": (Pause(15.0, 22.5),),
    }
    return Summary(**(values | changes))


def entries():
    recalled = Entry(
        "email", "Your tent <2>", Sight.RECALLED, 11.5, "c-1", "+7 ms", promotional=True
    )
    recalled.note = "its turn came +4.5 s: cancelled, not sent"
    thanks = Entry("email", "Thank you", Sight.THERE, 11.5, "c-3", "+7 ms")
    return [recalled, thanks, Entry("ads", "Winter sale", Sight.GONE, 11.5, "c-9", "+7 ms")]


def a_page(comparison=None, **changes):
    explanation = explain("ana", a_purchase_that_overtakes_an_email())
    seen = entries()
    return write_report(
        Day(
            summary=a_summary(**changes),
            comparison=comparison or a_comparison(),
            panels={channel: [e for e in seen if e.channel == channel] for channel in PANELS},
            purchase_at=11.4,
            explanation=explanation,
            why=why_not_sent(seen, explanation, 11.4),
            subtitle="a day",
            next_commands=["orchestrator run"],
            colophon="seed 1",
        )
    )


class _Nesting(HTMLParser):
    """Fails on a tag that is closed in the wrong order or never."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_asks_no_other_machine_for_anything():
    page = a_page()

    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"\b(src|href|srcset|action)\s*=", page)
    assert "@import" not in page
    assert "url(" not in page


def test_every_tag_is_closed_in_order():
    checker = _Nesting()
    checker.feed(a_page())

    assert checker.open == []


def test_both_pictures_are_well_formed_and_stay_in_their_frame():
    pictures = re.findall(r"<svg.*?</svg>", a_page(), re.DOTALL)

    assert len(pictures) == 2
    for picture in pictures:
        root = ET.fromstring(picture)
        _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
        for circle in root.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height
        for line in root.iter("polyline"):
            for point in line.attrib["points"].split():
                x, y = (float(part) for part in point.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height


def test_the_report_tells_why_the_email_was_not_sent():
    page = a_page()

    assert "purchase ord-1001" in page
    assert "cart_abandonment/cart-1#1 is over" in page
    assert "its turn came +4.5 s: cancelled, not sent" in page


def test_the_report_follows_light_and_dark_and_fits_a_phone():
    page = a_page()

    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_text_of_others_cannot_become_markup():
    assert "Your tent &lt;2&gt;" in a_page()


def test_the_report_shows_both_worlds_and_what_ana_got_from_the_silos():
    page = a_page()

    assert re.search(
        r"delivered after the purchase</td><td[^>]*><b>7</b>.*?<td[^>]*><b>0</b>", page
    )
    assert "Wait! 15 % off if you order now" in page
    assert page.count("after her purchase</span>") == 1


def test_a_broken_day_is_not_painted_green():
    page = a_page(verdict=Verdict(purchases=4, lost=1, doubled=0, commands=20, unread=1))

    assert 'class="card verdict broken"' in page
    assert "lost 1" in page
    assert "It does not hold." in page


def test_a_broken_promise_is_not_painted_green_either():
    page = a_page(a_comparison(without_consent=3))

    assert 'class="card verdict broken"' in page
    assert "without consent for the channel: 3, promised: 0." in page


@pytest.mark.parametrize(
    "changes", [{"samples": (), "pauses": ()}, {"refusals": {}, "commands": {}}]
)
def test_a_day_on_which_little_happened_has_a_report_too(changes):
    assert "</html>" in a_page(**changes)


def test_without_a_recalled_email_the_report_says_so():
    explanation = explain("ana", a_purchase_that_overtakes_an_email()[:2])

    assert why_not_sent([], explanation, 1.0)[0][1] == "She got every e-mail"
