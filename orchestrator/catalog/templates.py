"""`journeys/templates/` → `Templates`, and what is wrong with them and with how they are used.

One file for each channel and template, `templates/<channel>/<template>.yaml`: language → part →
Liquid. `folder.py` reads them before the journeys are looked at. A shop whose senders keep the
texts has no such folder; a shop that has it writes every message there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, instead, quoted
from orchestrator.catalog.rules.uses import messages
from orchestrator.core.expressions.templates import (
    OFFER,
    SNIPPETS,
    Content,
    Templates,
    compile_part,
    first_language,
)
from orchestrator.core.language.scalars import LOCALE_PATTERN, NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.catalog.tree import Node
    from orchestrator.core.language.shop import Shop

FOLDER: Final = "templates"
# Its forbidden words hold in every language.
ALL: Final = "all"


def read_templates(
    folder: Path,
    shop: Shop,
    channels: Mapping[str, str | None],
    read: Callable[[Path], Node | None],
) -> tuple[Templates | None, list[Finding]]:
    """Read all templates; None when the shop has no such folder. `read` reads a file's tree."""
    root = folder / FOLDER
    if not root.is_dir():
        return None, []
    findings: list[Finding] = []
    parts: dict[tuple[str, str], dict[str, Content]] = {}
    for path in sorted(root.rglob("*.yaml")):
        channel = path.parent.name
        if path.parent.parent != root or channel not in channels:
            hint = instead(channel, channels)
            message = f"stands in no folder of a channel{hint}; write templates/<channel>/<name>"
            findings.append(Finding(str(path), 1, message))
            continue
        if re.match(NAME_PATTERN, path.stem) is None:
            message = f"{quoted(path.stem)} is not a name; write a-z, 0-9 and _"
            findings.append(Finding(str(path), 1, message))
            continue
        if (tree := read(path)) is not None:
            reading = _File(str(path), tree, shop)
            parts[channel, path.stem] = reading.languages()
            findings += reading.findings
    return Templates(parts, shop.snippets), findings


def template_findings(draft: Draft, templates: Templates) -> Iterator[Finding]:
    """Yield messages of a journey that have no template, or one that wants more than they give."""
    for said in messages(draft):
        if said.channel_kind != "message":
            continue
        channel, name = said.message.channel, said.message.template
        written = templates.written(channel, name)
        place = (*said.place, "template")
        if not written:
            names = templates.names(channel)
            message = f"there is no template {quoted(name)} for {channel}{instead(name, names)}"
            yield draft.finding(where(draft.tree, place) + message, *place)
            continue
        given = set(said.message.variables)
        if getattr(said.message, "offer", None) is not None:
            given.add(OFFER)
        wanted = {
            one
            for content in written.values()
            for part in content.values()
            for one in part.variables
        }
        for variable in sorted(wanted - given):
            message = (
                f"{quoted(name)} shows {quoted(variable)}, which the step does not give"
                f"{instead(variable, given)}"
            )
            yield draft.finding(where(draft.tree, place) + message, *place)


def forbidden_in(text: str, language: str, shop: Shop) -> list[str]:
    """Return the forbidden words that a text says."""
    words: set[str] = set()
    for named, forbidden in shop.forbidden_words.items():
        if named in (ALL, language, language.partition("-")[0]):
            words |= set(forbidden)
    return sorted(
        word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
    )


class _File:
    """One file while it is read."""

    def __init__(self, path: str, tree: Node, shop: Shop) -> None:
        self.findings: list[Finding] = []
        self._path = path
        self._tree = tree
        self._shop = shop

    def languages(self) -> dict[str, Content]:
        """Return the template in every language that could be read."""
        plain = self._tree.plain()
        written: dict[str, Content] = {}
        if not plain:
            self._find("is empty; write language, part and text, like `en: {text: Hello}`")
        for language, parts in plain.items():
            if re.match(LOCALE_PATTERN, str(language)) is None:
                self._find(
                    f"{quoted(language)} is no language; write one like es or es-ES", language
                )
            elif not isinstance(parts, dict) or not parts:
                self._find(f"{language}: should be parts, like `text: Hello`", language)
            else:
                written[language] = self._content(language, parts)
        self._compare(written)
        return written

    def _content(self, language: str, parts: Mapping[str, Any]) -> Content:
        content = {}
        for name, source in parts.items():
            if re.match(NAME_PATTERN, str(name)) is None:
                self._find(f"{language}: {quoted(name)} is not a name", language, name)
                continue
            if not isinstance(source, str) or not source.strip():
                self._find(f"{language}.{name}: should be text", language, name)
                continue
            try:
                part = compile_part(name, source)
            except ValueError as error:
                self._find(f"{language}.{name}: {error}", language, name)
                continue
            content[name] = part
            for word in forbidden_in(source, language, self._shop):
                self._find(
                    f"{language}.{name}: says {quoted(word)}, which is forbidden here",
                    language,
                    name,
                )
            self._check_snippets(language, name, part.snippets)
        return content

    def _check_snippets(self, language: str, name: str, used: frozenset[str]) -> None:
        if not used:
            return
        snippets = self._shop.snippets
        known = snippets[first_language((language,), snippets)] if snippets else {}
        for snippet in sorted(used - known.keys()):
            message = f"there is no {SNIPPETS}.{snippet}{instead(snippet, known)}"
            self._find(f"{language}.{name}: {message}", language, name)

    def _compare(self, written: Mapping[str, Content]) -> None:
        """Note what one language has and another lacks: a customer would get half a message."""
        own = self._shop.locale.partition("-")[0]
        if written and not {self._shop.locale, own} & written.keys():
            self._find(f"says nothing in {own}, the language of the shop")
        every = {name for content in written.values() for name in content}
        for language, content in written.items():
            for name in sorted(every - content.keys()):
                self._find(f"{language}: has no {name}, and other languages have one", language)

    def _find(self, message: str, *place: str | int) -> None:
        self.findings.append(Finding(self._path, self._tree.line_of(*place), message))
