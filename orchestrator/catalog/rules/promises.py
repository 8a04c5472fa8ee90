"""What journeys promise: the offers that they name, and discounts that they type instead.

`journeys.py` asks for the findings of each journey, `folder.py` for those of all together. A shop
is held to declare what contradicts what; at run time the second of two is refused all the same.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, instead, quoted
from orchestrator.catalog.rules.uses import messages, uses
from orchestrator.core.calendar import instant_text
from orchestrator.core.expressions.templates import NO_TEMPLATES, OFFER
from orchestrator.core.language.words import Send
from orchestrator.core.offers.terms import Offers, says_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.catalog.draft import Place
    from orchestrator.catalog.offers import OfferFile
    from orchestrator.core.expressions.templates import Templates
    from orchestrator.core.language.offers import Offer
    from orchestrator.core.language.shop import Shop
    from orchestrator.core.language.words import Ask, Task, Webhook

# What a template can show of an offer; `core/offers` gives it.
OFFER_FIELDS: Final = frozenset({"text", "code", "until", "provisional"})
# What promises a discount where a shop does not say so itself.
DISCOUNT_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("free", "off", "discount", "discounts", "discounted", "coupon", "voucher", "half price"),
    "es": ("gratis", "gratuito", "gratuita", "descuento", "descuentos", "cupón", "de regalo"),
    "de": ("gratis", "kostenlos", "umsonst", "geschenkt", "rabatt", "nachlass", "gutschein"),
    "fr": ("gratuit", "gratuite", "offert", "offerte", "remise", "rabais", "réduction"),
}
_VERSIONS: Final = "versions"
_PERCENT: Final = re.compile(
    r"(\d{1,3}(?:[.,]\d{1,2})?)\s?(?:%|percent\b|per cent\b|por ciento\b|prozent\b|pour cent\b)",
    re.IGNORECASE,
)
# What is between a text's words and no word itself: Liquid, and in `html` its tags.
_LIQUID: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_LITERAL: Final = re.compile(r'"([^"]*)"|\'([^\']*)\'')
_TAGS: Final = re.compile(r"<style\b.*?</style\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_IN_OFFERS: Final = re.compile(r"""(?:"([^"\\]*)"|'([^'\\]*)')\s+in\s+offers\b""")


class _Telling(NamedTuple):
    """A message that tells an offer, and where it stands."""

    draft: Draft
    place: Place
    word: Send

    @property
    def name(self) -> str:
        """The offer."""
        return self.word.offer or ""


def promise_findings(
    draft: Draft, file: OfferFile | None, templates: Templates | None
) -> Iterator[Finding]:
    """Yield what is wrong with the offers that a journey names."""
    names = frozenset() if file is None else file.names
    for telling in _tellings(draft):
        if file is not None and telling.name in names:
            yield from _told_wrongly(telling, file, templates)
        elif PurePath(draft.path).parent.name != _VERSIONS:
            # What nobody enters any more may tell what is gone; it is refused then.
            hint = instead(telling.name, names)
            hint = hint or "; offers are declared in offers.yaml"
            message = f"there is no offer {quoted(telling.name)}{hint}"
            yield _at(draft, message, *telling.place, "offer")
    for use in uses(draft):
        for found in _IN_OFFERS.findall(use.expression.source):
            name = found[0] or found[1]
            if name not in names:
                message = f"there is no offer {quoted(name)}{instead(name, names)}"
                yield _at(draft, message, *use.place)


def discount_findings(
    draft: Draft, shop: Shop, file: OfferFile | None, templates: Templates | None
) -> Iterator[Finding]:
    """Yield discounts that a message types: it names the offer that promises them instead."""
    for said in messages(draft):
        name = getattr(said.message, "offer", None)
        offer = None if file is None or name is None else file.offers.get(name)
        if said.channel_kind != "message" or (name is not None and offer is None):
            continue
        for text in _texts(said.message, shop, templates or NO_TEMPLATES):
            found = next(_discounts(text, shop, offer), None)
            if found is None:
                continue
            if offer is None:
                rest = "the step tells no offer; declare one in offers.yaml and write `offer: …`"
            else:
                rest = f"{quoted(name)} gives something else; write {{{{ offer.text }}}}"
            message = f"{text.told_by} says {quoted(found)}, and {rest}"
            yield _at(draft, message, *said.place, *text.place)


def clash_findings(
    file: OfferFile | None, shop: Shop | None, drafts: Sequence[Draft]
) -> Iterator[Finding]:
    """Yield discounts that one customer may be told of which nobody says how they go together.

    Whether the second waits for the first or stands beside it, the shop knows.
    """
    if file is None or shop is None:
        return
    tellings: dict[str, _Telling] = {}
    for draft in drafts:
        for telling in _tellings(draft):
            if telling.name in file.offers:
                tellings.setdefault(telling.name, telling)
    terms = Offers(file.offers, shop.zone)
    for one, other in combinations(sorted(tellings), 2):
        if not terms.clash(one, other) or _is_declared(file, one, other):
            continue
        if _are_apart(terms, one, other) or _are_apart(terms, other, one):
            continue
        first, second = tellings[one], tellings[other]
        line = first.draft.tree.line_of(*first.place, "offer")
        message = (
            f"{quoted(other)} contradicts {quoted(one)} of {PurePath(first.draft.path).name}:{line}"
            ", and one customer can be told both; say excludes or stacks_with in offers.yaml"
        )
        yield _at(second.draft, message, *second.place, "offer")


def ended_findings(
    file: OfferFile | None, shop: Shop | None, drafts: Sequence[Draft], now_ms: int
) -> Iterator[Finding]:
    """Yield messages that tell an offer which has ended: they do not go out any more."""
    if file is None or shop is None:
        return
    terms = Offers(file.offers, shop.zone)
    for draft in drafts:
        for _, place, word in _tellings(draft):
            name = word.offer or ""
            found = terms.get(name)
            if found is not None and found.until_ms is not None and found.until_ms <= now_ms:
                message = f"{quoted(name)} ended {instant_text(found.until_ms)}; nobody is told it"
                yield _at(draft, message, *place, "offer")


class _Text(NamedTuple):
    """A text that a message says, the languages it may be in, and where the step says so."""

    told_by: str
    words: str
    languages: tuple[str, ...]
    place: Place


def _tellings(draft: Draft) -> Iterator[_Telling]:
    for said in messages(draft):
        if isinstance(said.message, Send) and said.message.offer is not None:
            yield _Telling(draft, said.place, said.message)


def _told_wrongly(
    telling: _Telling, file: OfferFile, templates: Templates | None
) -> Iterator[Finding]:
    """Yield what the message and the offer that it tells do not agree about."""
    draft, place, word = telling
    offer = file.offers.get(telling.name)
    if offer is None:
        return  # Its own finding says what is wrong with it.
    if OFFER in word.variables:
        message = f"{quoted(OFFER)} is what the template sees of its offer; call it otherwise"
        yield _at(draft, message, *place, "variables", OFFER)
    if offer.channels and word.channel not in offer.channels:
        allowed = ", ".join(offer.channels)
        message = f"{quoted(telling.name)} is not told by {word.channel}; allowed: {allowed}"
        yield _at(draft, message, *place, "offer")
    if templates is None:
        return
    otherwise = offer.otherwise
    if otherwise is not None and (word.channel, otherwise.template) not in templates:
        message = (
            f"{quoted(telling.name)} says {quoted(otherwise.template)} otherwise, and there is no "
            f"such template for {word.channel}"
        )
        yield _at(draft, message, *place, "offer")
    shown = {
        field
        for content in templates.written(word.channel, word.template).values()
        for part in content.values()
        for field in part.offer
    }
    fields = OFFER_FIELDS if offer.code is not None else OFFER_FIELDS - {"code"}
    for field in sorted(shown - fields):
        message = (
            f"{quoted(word.template)} shows offer.{field}, which {quoted(telling.name)} has not"
        )
        yield _at(draft, message + instead(field, fields), *place, "template")


def _is_declared(file: OfferFile, one: str, other: str) -> bool:
    """Whether one of two offers says that it excludes the other."""
    offer, beside = file.offers[one], file.offers[other]
    return says_of(offer.excludes, other, beside) or says_of(beside.excludes, one, offer)


def _are_apart(terms: Offers, earlier: str, later: str) -> bool:
    """Whether every promise of one is over before the first of the other."""
    one, other = terms.get(earlier), terms.get(later)
    if one is None or other is None or one.until_ms is None or other.from_ms is None:
        return False
    return one.until_ms <= other.from_ms


def _texts(
    message: Send | Ask | Task | Webhook, shop: Shop, templates: Templates
) -> Iterator[_Text]:
    """Yield every text that customers may read, without markup."""
    written = templates.written(message.channel, message.template)
    for language, content in written.items():
        snippets = templates.snippets_in(language)
        for name, part in content.items():
            said = [part.source, *(snippets.get(one, "") for one in sorted(part.snippets))]
            words = " ".join(_words(text, is_html=name == "html") for text in said)
            told_by = f"{quoted(message.template)} ({language}.{name})"
            yield _Text(told_by, words, (language,), ("template",))
    for name, variable in message.variables.items():
        if isinstance(variable.default, str):
            languages = (shop.locale, *written)
            yield _Text("its default", variable.default, languages, ("variables", name))


def _words(text: str, *, is_html: bool) -> str:
    """Return what a reader sees; texts inside Liquid, like defaults, may be seen."""
    text = _LIQUID.sub(lambda found: " ".join(map("".join, _LITERAL.findall(found[0]))), text)
    return _TAGS.sub(" ", text) if is_html else text


def _discounts(text: _Text, shop: Shop, offer: Offer | None) -> Iterator[str]:
    """Yield what promises a discount; beside an offer only a percentage that is not the offer's."""
    for found in _PERCENT.finditer(text.words):
        percent = float(found[1].replace(",", "."))
        if offer is None or percent != offer.gives.percent_off:
            yield found[0]
    if offer is not None:
        return
    for language in text.languages:
        for word in _discount_words(language, shop):
            found_word = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text.words, re.IGNORECASE)
            if found_word is not None:
                yield found_word[0]


def _discount_words(language: str, shop: Shop) -> tuple[str, ...]:
    base = language.partition("-")[0]
    own = shop.discount_words
    return own.get(language, own.get(base, DISCOUNT_WORDS.get(base, ())))


def _at(draft: Draft, message: str, *place: str | int) -> Finding:
    return draft.finding(where(draft.tree, place) + message, *place)
