"""The rules of `sentences.yaml` with what shows each of them, and their table in docs/scenarios.md.

`python -m tests.scenarios.table` writes the table again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from orchestrator.simulator.scenario import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
SCENARIOS: Final = ROOT / "tests" / "scenarios"
PAGE: Final = ROOT / "docs" / "scenarios.md"
BEGIN: Final = "<!-- Written by `python -m tests.scenarios.table`. -->\n"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Model):
    """One rule, and what shows it: scenarios (`guard/night`) and tests (`tests/…py::test_…`)."""

    rule: str = Field(min_length=1)
    shown_by: tuple[str, ...] = ()
    trap: str | None = None
    only_tests: str | None = None
    waits_for: str | None = None

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios among what shows it."""
        return tuple(one for one in self.shown_by if "::" not in one)

    @property
    def tests(self) -> tuple[str, ...]:
        """The test functions among what shows it."""
        return tuple(one for one in self.shown_by if "::" in one)

    @model_validator(mode="after")
    def _is_shown(self) -> Rule:
        if self.waits_for is not None:
            if self.shown_by:
                raise ValueError(f"{self.rule}: is shown; it waits for nothing any more")
        elif self.only_tests is not None:
            if self.scenarios or not self.tests:
                raise ValueError(f"{self.rule}: only_tests, so name tests and no scenario")
        elif not self.scenarios:
            raise ValueError(f"{self.rule}: no scenario shows it; write one, or say only_tests")
        return self


class Section(_Model):
    """One part of what is promised."""

    section: str
    rules: tuple[Rule, ...] = Field(min_length=1)


def sections() -> list[Section]:
    """Read the rules. Raises pydantic's ValidationError for one that nothing shows."""
    document = yaml.safe_load((SCENARIOS / "sentences.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(list[Section]).validate_python(document)


def page_with_table(page: str) -> str:
    """Return the page with its table as the rules say it now."""
    return page.partition(BEGIN)[0] + BEGIN + "".join(f"{line}\n" for line in _table())


def _table() -> Iterator[str]:
    for section in sections():
        yield from ("", f"### {section.section}", "")
        yield from ("| rule | shown by |", "|---|---|")
        for rule in section.rules:
            yield f"| {_told(rule)} | {_shown(rule)} |"


def _told(rule: Rule) -> str:
    trap = "" if rule.trap is None else f"<br>*Elsewhere: {rule.trap}*"
    return f"{rule.rule}{trap}".replace("|", r"\|")


def _shown(rule: Rule) -> str:
    if rule.waits_for is not None:
        return f"*not yet: waits for {rule.waits_for}*"
    shown = [f"[{one}](../tests/scenarios/{one}{SUFFIX})" for one in rule.scenarios]
    for one in rule.tests:
        path, _, name = one.partition("::")
        words = name.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        shown.append(f"[{words}](../{path})")
    return "<br>".join(shown)


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
