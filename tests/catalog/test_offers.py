"""`offers.yaml`, the offers that journeys name, and discounts that they type instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.catalog import read
from orchestrator.catalog.bundle import changes, files_of, load_files
from orchestrator.cli import run
from tests.catalog.conftest import CART

if TYPE_CHECKING:
    from pathlib import Path

OFFERS = """\
ten:
  owner: crm@shop.example
  text: {es: Un diez, en: Ten}
  gives: {percent_off: 10}
  valid_for: 30d
  code: TEN
free:
  owner: crm@shop.example
  text: {es: Envío incluido}
  gives: {free_shipping: true}
  from: 2026-11-27
  until: 2026-11-30
  excludes: [ten]
"""
TEXTS = {
    "email/cart.yaml": "es: {text: '{{ name }}: {{ offer.text }} {{ offer.code }}'}\n",
    "email/sorry.yaml": "es: {text: Perdona}\n",
    "email/hello_again.yaml": "es: {text: 'Hola {{ tier }}'}\n",
    "push/cart.yaml": "es: {title: Cesta, text: Tu cesta}\n",
}
TELLS = "      template: cart\n      variables:"
TELLS_TEN = "      template: cart\n      offer: ten\n      variables:"
BLACK_FRIDAY_MS = 1_795_900_000_000
NEW_YEAR_MS = 1_798_761_600_000


@pytest.fixture
def shop(folder: Path) -> Path:
    """The small shop of these tests, with templates, and an e-mail that tells an offer."""
    for name, text in TEXTS.items():
        path = folder / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "offers.yaml").write_text(OFFERS)
    assert CART.count(TELLS) == 1
    (folder / "cart.yaml").write_text(CART.replace(TELLS, TELLS_TEN))
    return folder


def findings(folder: Path, *, now_ms: int | None = None) -> list[str]:
    found = read(folder, now_ms=now_ms).findings
    return [str(one).removeprefix(f"{folder}/") for one in found]


def change(path: Path, written: str, instead: str) -> None:
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, instead, 1))


def test_a_shop_whose_offers_are_right_has_no_finding(shop: Path) -> None:
    assert findings(shop) == []
    journeys = read(shop).journeys
    assert journeys is not None
    assert [terms.name for terms in journeys.offers] == ["free", "ten"]


@pytest.mark.parametrize(
    ("written", "instead", "found"),
    [
        ("  valid_for: 30d\n", "", "1: ten: a promise has an end; say until, valid_for or both"),
        ("valid_for: 30d", "valid_for: 0s",
         "1: ten: valid_for: is over as soon as it is promised; give it time"),
        ("{percent_off: 10}", "{}",
         ("4: ten: gives: gives nothing; say one of percent_off, amount_off, free_shipping, gift, "
         "other")),
        ("{percent_off: 10}", "{amount_off: 10}",
         '4: ten: gives.amount_off: 10 is no price; write one like "10 EUR" or "7.50 EUR"'),
        ("{percent_off: 10}", "{percent_of: 10}",
         '4: ten: gives.percent_of: no such word here; did you mean "percent_off"?'),
        ("percent_off: 10", "percent_off: 110",
         "4: ten: gives.percent_off: 110 is not allowed; at most 100"),
        ("until: 2026-11-30", "until: 2026-11-26",
         "12: free: until: 2026-11-26 is not after from, 2026-11-27; it can never be valid"),
        ("from: 2026-11-27", "from: friday",
         ("11: free: from: 'friday' is no day and no instant; write one like 2026-12-24 or "
         "2026-12-24T10:00:00+01:00")),
        ("excludes: [ten]", "excludes: [tenn]",
         ('13: free: excludes: there is no other offer and no group "tenn"; did you mean "ten"?')),
        ("excludes: [ten]", "excludes: [ten]\n  stacks_with: [ten]",
         '13: free: excludes: "ten" is excluded, and this stacks too; say one of them'),
        ("code: TEN", "code: TEN\n  stacks_with: [free]",
         '14: free: excludes: "ten" is excluded, and "ten" stacks too; say one of them'),
        ("code: TEN", "code: TEN\n  groups: [free]",
         '7: ten: groups: "free" is an offer; call the group otherwise'),
        ("code: TEN", "code: free", '6: ten: code: "free" means "free" already'),
        ("code: TEN", "channels: [emial]",
         '6: ten: channels: there is no channel "emial"; did you mean "email"?'),
        ("code: TEN", "channels: [push]",
         ('cart.yaml:33: step "reminder_email": send.offer: "ten" is not told by email; allowed: '
         "push")),
        ("code: TEN", "code: TEN\n  again: sometimes",
         '7: ten: again: "sometimes" is not allowed; write `once`, `always` or {after: 7d}'),
        ("code: TEN", "code: TEN\n  qualifies: event.data.x == 1",
         '7: ten: qualifies: "event" is not known here; an offer sees now_ms, profile, segments'),
        ("code: TEN", 'code: TEN\n  qualifies: "false"',
         "7: ten: qualifies: is never true, so that nobody gets it"),
        ("code: TEN", "code: TEN\n  qualifies: now_ms + 1",
         "7: ten: qualifies: gives something else than true or false"),
        ("code: TEN", "code: TEN\n  qualifies: has(profile.x) && lenght(profile.x) > 1",
         '7: ten: qualifies: there is no function "lenght"; allowed: '),
        ("code: TEN", "code: TEN\n  acquisition: true",
         "7: ten: acquisition: says whom it is not for with qualifies; write that condition"),
        ("code: TEN", "code: TEN\n  known_when: has(profile.email)",
         "7: ten: known_when: is asked of acquisition offers only; write `acquisition: true`"),
        ("code: TEN", "code: TEN\n  otherwise: {template: sorry}",
         "7: ten: otherwise: belongs to acquisition offers; write `acquisition: true`"),
        ("text: {es: Un diez, en: Ten}", "text: {en: Ten}",
         "3: ten: text: says nothing in es, the language of the shop"),
        ("ten:\n", "Ten:\n", '1: "Ten" is not a name; write a-z, 0-9 and _, beginning with a'),
        ("  owner: crm@shop.example\n  text: {es: Env", "  text: {es: Env",
         "7: free: owner: is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_offer_is_told_where_it_stands(
    shop: Path, written: str, instead: str, found: str
) -> None:
    change(shop / "offers.yaml", written, instead)

    told = findings(shop)

    expected = found if found.startswith("cart.yaml") else f"offers.yaml:{found}"
    assert any(one.startswith(expected) for one in told), told


ACQUISITION = """\
  acquisition: true
  qualifies: has(profile.tier) == false
  otherwise: {template: hello_again, variables: {tier: profile.tier}}
"""


@pytest.mark.parametrize(
    ("written", "instead", "found"),
    [
        ("template: hello_again", "template: helo_again",
         ('offers.yaml:9: ten: otherwise.template: there is no template "helo_again"; did you mean '
         '"hello_again"?')),
        ("{tier: profile.tier}", "{teir: profile.tier}",
         ('offers.yaml:9: ten: otherwise.variables: "hello_again" shows "tier", which is not '
         'given; did you mean "teir"?')),
        ("tier: profile.tier", "tier: trigger.data.tier",
         ('offers.yaml:9: ten: otherwise.variables.tier: "trigger" is not known here; an offer '
         "sees now_ms, profile, segments")),
    ],
)  # fmt: skip
def test_what_is_said_instead_is_there_and_gets_what_it_shows(
    shop: Path, written: str, instead: str, found: str
) -> None:
    change(shop / "offers.yaml", "  code: TEN\n", "  code: TEN\n" + ACQUISITION)
    assert findings(shop) == []

    change(shop / "offers.yaml", written, instead)

    assert found in findings(shop)


def test_what_is_said_instead_is_there_for_the_channel_that_tells_the_offer(shop: Path) -> None:
    change(shop / "offers.yaml", "  code: TEN\n", "  code: TEN\n" + ACQUISITION)
    change(shop / "cart.yaml", "{channel: push, template: cart}",
           "{channel: push, template: cart, offer: ten}")  # fmt: skip

    assert findings(shop) == [
        (
            'cart.yaml:27: step "reminder_push": send.offer: "ten" says "hello_again" otherwise, '
            "and there is no such template for push"
        )
    ]


@pytest.mark.parametrize(
    ("written", "instead", "found"),
    [
        ("offer: ten", "offer: tenn", ('33: step "reminder_email": send.offer: there is no offer '
         '"tenn"; did you mean "ten"?')),
        ("        name: {value", "        offer: {value",
         ('36: step "reminder_email": send.variables.offer: "offer" is what the template sees of '
         "its offer; call it otherwise")),
        ("when: has(profile.push_token)", "when: '\"tenn\" in offers'",
         '23: step "ways": branch[1].when: there is no offer "tenn"; did you mean "ten"?'),
        ("wait: 1h", "wait: {for: 1h, until: [{when: size(offers) > 0, next: list}]}",
         ('20: step "pause": wait.until[1].when: "offers" is not known here; a step sees '
         "enrollment, profile, segments, trigger")),
    ],
)  # fmt: skip
def test_journeys_name_offers_that_there_are(
    shop: Path, written: str, instead: str, found: str
) -> None:
    change(shop / "cart.yaml", written, instead)

    assert f"cart.yaml:{found}" in findings(shop)


def test_conditions_may_ask_what_the_customer_holds(shop: Path) -> None:
    for when in ('"ten" in offers', "size(offers) == 0", 'offers.exists(o, o == "free")'):
        (shop / "cart.yaml").write_text(
            CART.replace(TELLS, TELLS_TEN).replace("has(profile.push_token)", f"'{when}'")
        )
        assert findings(shop) == []


def test_a_template_shows_what_there_is_of_an_offer(shop: Path) -> None:
    change(shop / "templates/email/cart.yaml", "offer.code", "offer.kode")

    assert findings(shop) == [
        (
            'cart.yaml:32: step "reminder_email": send.template: "cart" shows offer.kode, which '
            '"ten" has not; did you mean "code"?'
        )
    ]


def test_a_template_shows_an_offer_only_if_its_step_tells_one(shop: Path) -> None:
    change(shop / "cart.yaml", "      offer: ten\n", "")

    assert findings(shop) == [
        (
            'cart.yaml:32: step "reminder_email": send.template: "cart" shows "offer", which the '
            "step does not give; allowed: items, name"
        )
    ]


def test_a_version_that_nobody_enters_any_more_may_tell_what_is_gone(shop: Path) -> None:
    (shop / "versions").mkdir()
    old = CART.replace(TELLS, TELLS_TEN.replace("ten", "gone")).replace("version: 2", "version: 1")
    (shop / "versions/cart.v1.yaml").write_text(old)

    assert findings(shop) == []


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("es", "Hoy un 15 % menos", "15 %"),
        ("es", "Hoy un 7,5% menos", "7,5%"),
        ("es", "Envío gratis hoy", "gratis"),
        ("es", "Gratis", "Gratis"),
        ("es", "{{ name | default: '20 % menos' }}", "20 %"),
        ("en", "half price", "half price"),
        ("en", "20 percent", "20 percent"),
        ("en", "10% off", "10%"),
        ("de", "Heute kostenlos", "kostenlos"),
        ("fr", "une remise", "remise"),
        ("es", "{% if name == 5 %}Hola{% endif %} 100 maneras", None),
        ("es", "Libre como el viento", None),
        ("es", "the weather is off", None),
        ("en", "offline and freedom", None),
    ],
)
def test_a_discount_that_is_typed_is_found_in_every_language(
    shop: Path, language: str, text: str, found: str | None
) -> None:
    title = "es: {title: Cesta, text: Cesta}\n" if language != "es" else ""
    written = f"{language}:\n  title: T\n  text: |\n    {text}\n"
    (shop / "templates/push/cart.yaml").write_text(title + written)
    change(shop / "cart.yaml", "{channel: push, template: cart}",
           "{channel: push, template: cart, variables: {name: profile.name}}")  # fmt: skip

    expected = [] if found is None else [
        (f'cart.yaml:27: step "reminder_push": send.template: "cart" ({language}.text) says '
        f'"{found}", and the step tells no offer; declare one in offers.yaml and write `offer: …`')
    ]  # fmt: skip
    assert findings(shop) == expected


def test_markup_of_a_letter_is_no_discount_and_its_words_are(shop: Path) -> None:
    style = "<style>td {width: 50%}</style><table width='100%'><td>{}</td></table>"
    path = shop / "templates/push/cart.yaml"
    written = "es:\n  html: |\n    " + style

    path.write_text(written.replace("{}", "Cesta"))
    assert findings(shop) == []

    path.write_text(written.replace("{}", "50%"))
    assert len(findings(shop)) == 1


def test_a_discount_in_a_default_or_a_snippet_is_found_too(shop: Path) -> None:
    change(shop / "cart.yaml", "{channel: push, template: cart}",
           "{channel: push, template: cart, variables: "
           "{name: {value: profile.name, default: un regalo gratis}}}")  # fmt: skip
    assert findings(shop) == [
        (
            'cart.yaml:27: step "reminder_push": send.variables.name: its default says "gratis", '
            "and the step tells no offer; declare one in offers.yaml and write `offer: …`"
        )
    ]

    (shop / "cart.yaml").write_text(CART.replace(TELLS, TELLS_TEN))
    (shop / "templates/push/cart.yaml").write_text("es: {text: '{{ snippets.bye }}'}\n")
    with (shop / "shop.yaml").open("a") as file:
        file.write("snippets: {es: {bye: Devolución gratis}}\n")
    assert len(findings(shop)) == 1


def test_a_shop_says_itself_which_words_promise_a_discount(shop: Path) -> None:
    (shop / "templates/push/cart.yaml").write_text("es: {text: Gratis y chollo}\n")
    with (shop / "shop.yaml").open("a") as file:
        file.write("discount_words: {es: [chollo]}\n")

    (found,) = findings(shop)
    assert '"chollo"' in found


@pytest.mark.parametrize(("percent", "right"), [("10 %", True), ("10.0%", True), ("15 %", False)])
def test_a_message_that_tells_an_offer_types_no_other_percentage(
    shop: Path,
    percent: str,
    right: bool,  # noqa: FBT001 - A parameter of the test.
) -> None:
    change(shop / "templates/email/cart.yaml", "offer.code }}", f"offer.code }}}} gratis {percent}")

    expected = [] if right else [
        ('cart.yaml:32: step "reminder_email": send.template: "cart" (es.text) says "15 %", and '
        '"ten" gives something else; write {{ offer.text }}')
    ]  # fmt: skip
    assert findings(shop) == expected


class TestContradictions:
    @pytest.fixture
    def two(self, shop: Path) -> Path:
        """Two journeys that tell one customer different discounts."""
        other = CART.replace("name: cart", "name: other").replace(TELLS, TELLS_TEN)
        (shop / "other.yaml").write_text(other.replace("offer: ten", "offer: free"))
        (shop / "templates/email/cart.yaml").write_text("es: {text: '{{ offer.text }}'}\n")
        return shop

    def test_two_discounts_for_one_customer_are_spoken_of(self, two: Path) -> None:
        assert findings(two) == []

        change(two / "offers.yaml", "  excludes: [ten]\n", "")

        assert findings(two) == [
            (
                'cart.yaml:33: step "reminder_email": send.offer: "ten" contradicts "free" of '
                "other.yaml:33, and one customer can be told both; say excludes or stacks_with in "
                "offers.yaml"
            )
        ]

    def test_who_says_that_they_stack_has_said_it(self, two: Path) -> None:
        change(two / "offers.yaml", "excludes: [ten]", "stacks_with: [ten]")

        assert findings(two) == []

    def test_what_is_over_before_the_other_begins_needs_no_word(self, two: Path) -> None:
        change(two / "offers.yaml", "  excludes: [ten]\n", "")
        change(two / "offers.yaml", "  valid_for: 30d\n", "  valid_for: 30d\n  until: 2026-11-26\n")

        assert findings(two) == []


class TestTime:
    def test_an_offer_that_has_ended_is_told_to_who_checks(self, shop: Path) -> None:
        change(shop / "cart.yaml", "offer: ten", "offer: free")
        (shop / "templates/email/cart.yaml").write_text("es: {text: '{{ offer.text }}'}\n")

        assert findings(shop, now_ms=BLACK_FRIDAY_MS) == []
        assert findings(shop, now_ms=NEW_YEAR_MS) == [
            (
                'cart.yaml:33: step "reminder_email": send.offer: "free" ended '
                "2026-11-30T23:00:00Z; nobody is told it"
            )
        ]

    def test_and_keeps_no_worker_from_starting(self, shop: Path) -> None:
        change(
            shop / "offers.yaml",
            "2026-11-27\n  until: 2026-11-30",
            "2020-01-01\n  until: 2021-01-01",
        )
        change(shop / "cart.yaml", "offer: ten", "offer: free")
        (shop / "templates/email/cart.yaml").write_text("es: {text: '{{ offer.text }}'}\n")

        assert run(["check", str(shop)]) == 1
        assert read(shop).journeys is not None


def test_offers_are_published_with_the_journeys_and_a_change_is_told(shop: Path) -> None:
    files = files_of(shop)
    running = load_files(files, "test")
    coming = load_files(
        files | {"offers.yaml": OFFERS.replace("percent_off: 10", "percent_off: 12")}, "test"
    )

    assert changes(running, coming) == ["offer: ten"]
    assert running.content_hash != coming.content_hash


def test_a_shop_without_offers_may_name_none(folder: Path) -> None:
    (folder / "cart.yaml").write_text(CART.replace(TELLS, TELLS_TEN))

    assert findings(folder) == [
        (
            'cart.yaml:33: step "reminder_email": send.offer: there is no offer "ten"; offers are '
            "declared in offers.yaml"
        )
    ]
