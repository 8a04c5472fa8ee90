"""Liquid templates: compiled once at load, rendered inside the decision, strict.

`catalog/templates` reads `journeys/templates/` into a `Templates`. Nothing in a template can ask
the clock or read a file: what could is not in the language here. A variable that is not there is
a failure, never an empty space.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, is_currency
from liquid import Environment, Mode, StrictDefaultUndefined
from liquid.exceptions import FilterArgumentError, LiquidError
from liquid.filter import with_context

from orchestrator.core.derived.amounts import parse_amount
from orchestrator.core.expressions.condition import Failed

if TYPE_CHECKING:
    from liquid import RenderContext
    from liquid.template import BoundTemplate

SNIPPETS: Final = "snippets"
# What a template sees of the offer that its message tells.
OFFER: Final = "offer"
# These read files, keep counters over renders, or are of no use in a message.
_TAGS_LEFT_OUT: Final = ("include", "render", "increment", "decrement", "tablerow", "ifchanged")
# `date` reads the clock for "now"; the others decode what nobody has encoded, or mark as safe.
_FILTERS_LEFT_OUT: Final = ("date", "safe", "base64_decode", "base64_url_safe_decode")
RENDERED_CHARACTERS_MAX: Final = 100_000
_LOOPS_MAX: Final = 1_000


# No variable of an author has a name like this.
_LOCALE: Final = "its locale"


@with_context
def _money(value: object, currency: object, *, context: RenderContext) -> str:
    """Write an amount as the customer's locale does: `{{ total | money: "EUR" }}`."""
    amount = parse_amount(value)
    if amount is None:
        raise FilterArgumentError(f"money: {value!r:.40} is no amount", token=None)
    if not isinstance(currency, str) or not is_currency(currency):
        raise FilterArgumentError(f"money: {currency!r:.40} is no currency", token=None)
    return format_currency(amount, currency, locale=_locale(str(context.resolve(_LOCALE))))


@lru_cache(maxsize=256)
def _locale(name: str) -> Locale:
    """Return how a locale writes, or its language, or English. Each is read once."""
    for one in (name, name.partition("-")[0]):
        try:
            return Locale.parse(one, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return Locale("en")


class _Environment(Environment):
    """Liquid without the world, and bounded."""

    loop_iteration_limit = _LOOPS_MAX
    output_stream_limit = RENDERED_CHARACTERS_MAX
    context_depth_limit = 10


def _environment(*, autoescape: bool) -> Environment:
    made = _Environment(
        tolerance=Mode.STRICT, undefined=StrictDefaultUndefined, autoescape=autoescape
    )
    for name in _TAGS_LEFT_OUT:
        made.tags.pop(name, None)
    for name in _FILTERS_LEFT_OUT:
        made.filters.pop(name, None)
    made.add_filter("money", _money)
    return made


_TEXT: Final = _environment(autoescape=False)
_HTML: Final = _environment(autoescape=True)
TAGS: Final = frozenset(_TEXT.tags)
FILTERS: Final = frozenset(_TEXT.filters)


class Part(NamedTuple):
    """One part of a message, like its subject; `offer` is what it shows of its offer."""

    source: str
    program: BoundTemplate
    variables: frozenset[str]
    snippets: frozenset[str]
    offer: frozenset[str] = frozenset()


def compile_part(name: str, source: str) -> Part:
    """Compile one part; `html` is escaped. Raises ValueError saying what is wrong."""
    try:
        program = (_HTML if name == "html" else _TEXT).from_string(source)
    except LiquidError as error:
        token = error.token
        line = source.count("\n", 0, token.start_index) + 1 if token is not None else 1
        raise ValueError(f"not Liquid: {error.message or error} (line {line} of it)") from error
    analysis = program.analyze()
    if unknown := analysis.filters.keys() - FILTERS:
        raise ValueError(f"not Liquid: there is no filter {min(unknown)!r} here")
    found = analysis.globals
    below = {
        root: frozenset(
            str(one.segments[1]) for one in found.get(root, ()) if len(one.segments) > 1
        )
        for root in (SNIPPETS, OFFER)
    }
    return Part(source, program, frozenset(found.keys() - {SNIPPETS}), *below.values())


Content = Mapping[str, Part]


class Templates:
    """All templates of a shop: by channel and name, in every language they are written in.

    `snippets` are the brand's own words, by language. `sources` is everything as it was written.
    """

    def __init__(
        self,
        parts: Mapping[tuple[str, str], Mapping[str, Content]],
        snippets: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._parts: Final = dict(parts)
        self._snippets: Final = dict(snippets)

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._parts

    def names(self, channel: str) -> frozenset[str]:
        """Return the templates of a channel."""
        return frozenset(name for its, name in self._parts if its == channel)

    def written(self, channel: str, name: str) -> Mapping[str, Content]:
        """Return a template in every language; nothing when there is none."""
        return self._parts.get((channel, name), {})

    def sources(self) -> dict[str, Any]:
        """Return everything as it was written, for the content hash."""
        return {
            f"{channel}/{name}": {
                language: {part: one.source for part, one in content.items()}
                for language, content in languages.items()
            }
            for (channel, name), languages in sorted(self._parts.items())
        }

    def render(
        self, channel: str, name: str, languages: tuple[str, ...], variables: Mapping[str, Any]
    ) -> dict[str, str] | Failed | None:
        """Fill a template in, in the first of these languages; None when there is no template.

        A locale means its language too: `es-ES` is answered by `es`.
        """
        written = self._parts.get((channel, name))
        if written is None:
            return None
        language = first_language(languages, written)
        values = {
            **variables,
            SNIPPETS: self.snippets_in(language),
            _LOCALE: _spoken_in(language, languages),
        }
        try:
            return {part: one.program.render(values) for part, one in written[language].items()}
        except LiquidError as error:
            return Failed(f"{channel}/{name} ({language}): {error.message or error}")
        except Exception as error:  # noqa: BLE001 - A filter meets any value that a producer sent.
            return Failed(f"{channel}/{name} ({language}): {type(error).__name__}")

    def snippets_in(self, language: str) -> Mapping[str, str]:
        """Return the brand's own words in a language, or in the one that comes nearest."""
        if not self._snippets:
            return {}
        return self._snippets[first_language((language,), self._snippets)]


def first_language(wanted: tuple[str, ...], written: Mapping[str, Any]) -> str:
    """Return the first wanted locale that there is, or its language, or else the first written."""
    for locale in wanted:
        for one in (locale, locale.partition("-")[0]):
            if one in written:
                return one
    return next(iter(written))


def _spoken_in(language: str, wanted: tuple[str, ...]) -> str:
    """Return the customer's own locale when the text is in its language, else the text's."""
    spoken = language.partition("-")[0]
    return next((one for one in wanted if one.partition("-")[0] == spoken), language)


NO_TEMPLATES: Final = Templates({}, {})
