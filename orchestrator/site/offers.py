"""Offers for the page: what each promises, when, where, to whom, and which contradict each other.

`build` puts them beside the journeys and into the calendar.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.calendar import first_zone
from orchestrator.core.expressions.templates import first_language
from orchestrator.core.language.journey import After
from orchestrator.core.language.scalars import duration_text

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.offers import Gives, Offer
    from orchestrator.core.offers.terms import Terms

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def offers_of(journeys: Journeys) -> list[dict[str, Any]]:
    """Return every offer as the page shows it."""
    return [_offer(terms, journeys) for terms in journeys.offers]


def days_of(journeys: Journeys) -> dict[str, list[dict[str, str]]]:
    """Return the first and the last days of offers, by day in the shop's zone."""
    days: dict[str, list[dict[str, str]]] = {}
    for terms in journeys.offers:
        for instant_ms, word in ((terms.from_ms, "begins"), (_last_ms(terms), "last day")):
            if instant_ms is not None:
                day = _day(instant_ms, journeys).isoformat()
                days.setdefault(day, []).append({"offer": terms.name, "word": word})
    return days


def valid_throughout(journeys: Journeys, first: date, last: date) -> list[str]:
    """Return the offers that can be promised on every one of these days."""
    found = []
    for terms in journeys.offers:
        ends_ms = _last_ms(terms)
        begun = terms.from_ms is None or _day(terms.from_ms, journeys) <= first
        if begun and (ends_ms is None or _day(ends_ms, journeys) >= last):
            found.append(terms.name)
    return found


def _offer(terms: Terms, journeys: Journeys) -> dict[str, Any]:
    offer = terms.offer
    return {
        "name": terms.name,
        "owner": offer.owner,
        "description": offer.description,
        "texts": [{"language": one, "text": text} for one, text in offer.text.items()],
        "gives": gives_sentence(offer.gives),
        "code": offer.code or "",
        "when": _when(offer),
        "who": _who(offer),
        "again": _again(offer),
        "channels": ", ".join(offer.channels) or "everywhere",
        "contradicts": sorted(journeys.offers.contradicting(terms.name)),
        "told_by": [journey.name for journey in journeys.current if _tells(journey, terms.name)],
    }


def shown_in(terms: Terms, language: str) -> dict[str, Any]:
    """Return what a template shows of an offer: its own words, other values in brackets."""
    text = terms.offer.text
    words = text[first_language((language,), text)]
    return {"text": words, "until": "[until]", "code": "[code]", "provisional": False}


def gives_sentence(gives: Gives) -> str:
    """Return what an offer gives, in words."""
    parts = [
        "" if gives.percent_off is None else f"{gives.percent_off:g} % off",
        "" if gives.amount_off is None else f"{gives.amount_off} off",
        "free shipping" if gives.free_shipping else "",
        "" if gives.gift is None else f"a present: {gives.gift}",
        gives.other or "",
    ]
    least = "" if gives.from_total is None else f", for orders of at least {gives.from_total}"
    return " and ".join(part for part in parts if part) + least


def _when(offer: Offer) -> str:
    parts = [
        "" if offer.from_ is None else f"from {offer.from_}",
        "" if offer.until is None else f"until {offer.until}",
        "" if offer.valid_for is None else f"for {duration_text(offer.valid_for)} once promised",
    ]
    return ", ".join(part for part in parts if part)


def _who(offer: Offer) -> str:
    if offer.qualifies is None:
        return "everybody"
    if not offer.acquisition:
        return f"when {offer.qualifies.source}"
    instead = "" if offer.otherwise is None else f"; others get “{offer.otherwise.template}”"
    return f"new customers: {offer.qualifies.source}; provisionally before we know them{instead}"


def _again(offer: Offer) -> str:
    if isinstance(offer.again, After):
        return f"again after {duration_text(offer.again.after)}"
    return {"once": "once", "always": "as often as the last one is over"}[offer.again]


def _tells(journey: Any, name: str) -> bool:
    said = [step.send for step in journey.steps] + [one.then for one in journey.exits]
    return any(word is not None and word.offer == name for word in said)


def _last_ms(terms: Terms) -> int | None:
    return None if terms.until_ms is None else terms.until_ms - 1


def _day(instant_ms: int, journeys: Journeys) -> date:
    zone = first_zone((journeys.shop.zone,))
    return (_EPOCH + instant_ms * _MILLISECOND).astimezone(zone).date()
