"""`journeys/offers.yaml` → offers by name, and what is wrong with them.

`folder.py` reads it after the channels; how journeys use offers is the matter of `rules/promises`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import cel

from orchestrator.catalog.draft import read_model
from orchestrator.catalog.findings import Finding, instead, quoted, shortened
from orchestrator.catalog.rules.derived import unknown_names
from orchestrator.catalog.rules.expressions import FUNCTIONS
from orchestrator.catalog.rules.stages import unknown_stages
from orchestrator.catalog.tree import Node
from orchestrator.catalog.vocabulary import Vocabulary
from orchestrator.core.language.offers import Offer
from orchestrator.core.language.scalars import NAME_PATTERN
from orchestrator.core.offers.terms import Offers, says_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.expressions.templates import Templates
    from orchestrator.core.language.shop import Shop

# Conditions of offers hold for a customer, whatever happens and whatever else they hold.
QUALIFIES_SEES: Final = frozenset({"profile", "segments", "now_ms"})
KNOWN_SEES: Final = frozenset({"profile", "segments"})
OFFERS_MAX: Final = 500


class OfferFile:
    """`offers.yaml` as far as it could be read: its sound offers, and where each word stands."""

    def __init__(self, path: str, tree: Node) -> None:
        self.path: Final = path
        self.tree: Final = tree
        self.offers: dict[str, Offer] = {}
        self.findings: list[Finding] = []
        if len(tree.value) > OFFERS_MAX:
            self._find(f"holds {len(tree.value)} offers; at most {OFFERS_MAX}")
            return
        for name, node in tree.value.items():
            line = tree.key_lines[name]
            if re.match(NAME_PATTERN, name) is None:
                message = "is not a name; write a-z, 0-9 and _, beginning with a letter"
                self._find(f"{quoted(name)} {message}", name)
                continue
            offer, findings = read_model(path, Node(node.value, line, node.key_lines), Offer)
            shown = shortened(name)
            self.findings += [
                found._replace(message=f"{shown}: {found.message}") for found in findings
            ]
            if offer is not None:
                self.offers[name] = offer

    @property
    def names(self) -> frozenset[str]:
        """Everything that is called an offer here, sound or not."""
        return frozenset(self.tree.value)

    def _find(self, message: str, *place: str | int) -> None:
        self.findings.append(Finding(self.path, self.tree.line_of(*place), message))


def offer_findings(
    file: OfferFile,
    shop: Shop | None,
    channels: Mapping[str, str | None] | None,
    templates: Templates | None,
) -> Iterator[Finding]:
    """Yield what is wrong with offers although each of their words is allowed."""
    for name, offer in file.offers.items():
        found = [*_bad_names(file, name, offer, channels), *_bad_conditions(offer)]
        found += _bad_greetings(offer, channels, templates)
        if shop is not None:
            found += _bad_times(name, offer, shop)
            found += _bad_languages(offer, shop)
            found += _bad_names_of_shop(offer, Vocabulary(shop))
        for place, message in found:
            where = f"{name}: {'.'.join(place)}: "
            yield Finding(file.path, file.tree.line_of(name, *place), where + message)
    yield from _codes_twice(file)


Found = tuple[tuple[str, ...], str]


def _bad_names(
    file: OfferFile, name: str, offer: Offer, channels: Mapping[str, str | None] | None
) -> Iterator[Found]:
    for channel in offer.channels:
        if channels is not None and channel not in channels:
            hint = instead(channel, channels)
            yield ("channels",), f"there is no channel {quoted(channel)}{hint}"
    groups = {group for one in file.offers.values() for group in one.groups}
    for group in offer.groups:
        if group in file.names:
            yield ("groups",), f"{quoted(group)} is an offer; call the group otherwise"
    known = (file.names | groups) - {name}
    for word in ("excludes", "stacks_with"):
        for other in getattr(offer, word):
            if other not in known:
                hint = instead(other, known)
                yield (word,), f"there is no other offer and no group {quoted(other)}{hint}"
    for other, beside in file.offers.items():
        if other == name or not says_of(offer.excludes, other, beside):
            continue
        stacks = says_of(offer.stacks_with, other, beside)
        if stacks or says_of(beside.stacks_with, name, offer):
            who = "this" if stacks else quoted(other)
            yield (
                ("excludes",),
                f"{quoted(other)} is excluded, and {who} stacks too; say one of them",
            )


def _bad_conditions(offer: Offer) -> Iterator[Found]:
    said: list[tuple[tuple[str, ...], Expression | None, frozenset[str]]] = [
        (("qualifies",), offer.qualifies, QUALIFIES_SEES),
        (("known_when",), offer.known_when, KNOWN_SEES),
    ]
    for place, condition, sees in said:
        if condition is not None:
            yield from ((place, message) for message in _faults(condition, sees, asks=True))
    for name, variable in offer.otherwise.variables.items() if offer.otherwise is not None else ():
        place = ("otherwise", "variables", name)
        faults = _faults(variable.value, QUALIFIES_SEES, asks=False)
        yield from ((place, message) for message in faults)
    if offer.acquisition and offer.qualifies is None:
        yield ("acquisition",), "says whom it is not for with qualifies; write that condition"
    if not offer.acquisition and offer.known_when is not None:
        yield ("known_when",), "is asked of acquisition offers only; write `acquisition: true`"


def _bad_names_of_shop(offer: Offer, vocabulary: Vocabulary) -> Iterator[Found]:
    for word in ("qualifies", "known_when"):
        condition = getattr(offer, word)
        if condition is not None:
            named = (
                *unknown_stages(condition, vocabulary.stages),
                *unknown_names(condition, vocabulary),
            )
            yield from (((word,), message) for message in named)


def _faults(expression: Expression, sees: frozenset[str], *, asks: bool) -> Iterator[str]:
    """Yield what an expression names and cannot see, and conditions that are none."""
    for root in sorted(expression.roots - sees):
        yield f"{quoted(root)} is not known here; an offer sees {', '.join(sorted(sees))}"
    for name in expression.program.references()["functions"]:
        if name[0].isalpha() and name not in FUNCTIONS:
            yield f"there is no function {quoted(name)}{instead(name, FUNCTIONS)}"
    if not asks or expression.roots - sees:
        return
    try:
        value = expression.evaluate(cel.Context({"profile": {}, "segments": [], "now_ms": 1}))
    except Exception:  # noqa: BLE001 - A missing attribute proves nothing.
        return
    if not isinstance(value, bool):
        yield "gives something else than true or false"
    elif not expression.roots and value is False:
        yield "is never true, so that nobody gets it"


def _bad_greetings(
    offer: Offer, channels: Mapping[str, str | None] | None, templates: Templates | None
) -> Iterator[Found]:
    otherwise = offer.otherwise
    if otherwise is None:
        return
    if not offer.acquisition:
        yield ("otherwise",), "belongs to acquisition offers; write `acquisition: true`"
    if templates is None or channels is None:
        return
    places = [one for one in channels if (one, otherwise.template) in templates]
    if not places:
        every = {name for one in channels for name in templates.names(one)}
        hint = instead(otherwise.template, every)
        yield ("otherwise", "template"), f"there is no template {quoted(otherwise.template)}{hint}"
    for channel in places:
        written = templates.written(channel, otherwise.template).values()
        wanted = {one for content in written for part in content.values() for one in part.variables}
        for variable in sorted(wanted - set(otherwise.variables)):
            hint = instead(variable, otherwise.variables)
            message = f"{quoted(otherwise.template)} shows {quoted(variable)}, which is not given"
            yield ("otherwise", "variables"), message + hint


def _bad_times(name: str, offer: Offer, shop: Shop) -> Iterator[Found]:
    terms = Offers({name: offer}, shop.zone).get(name)
    if terms is None or terms.from_ms is None or terms.until_ms is None:
        return
    if terms.until_ms <= terms.from_ms:
        yield ("until",), f"{offer.until} is not after from, {offer.from_}; it can never be valid"


def _bad_languages(offer: Offer, shop: Shop) -> Iterator[Found]:
    own = shop.locale.partition("-")[0]
    if not {shop.locale, own} & offer.text.keys():
        yield ("text",), f"says nothing in {own}, the language of the shop"


def _codes_twice(file: OfferFile) -> Iterator[Finding]:
    """Yield codes that mean two offers: a checkout could not say which one it redeems."""
    first: dict[str, str] = {}
    for name, offer in file.offers.items():
        if offer.code is None:
            continue
        other = first.setdefault(offer.code, name)
        if other != name or (offer.code in file.names and offer.code != name):
            meant = other if other != name else offer.code
            message = f"{name}: code: {quoted(offer.code)} means {quoted(meant)} already"
            yield Finding(file.path, file.tree.line_of(name, "code"), message)
