"""The examples of docs/steps.md are steps that `check` accepts: what people copy works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.catalog import read

PAGE = (Path(__file__).parents[2] / "docs" / "steps.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## `(\w+)`.*?```yaml\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("word", EXAMPLES)
def test_the_example_of_a_word_has_no_finding(folder: Path, word: str) -> None:
    example = EXAMPLES[word]
    cart = (folder / "cart.yaml").read_text()
    head, steps, _ = cart.partition("steps:\n")
    parts = head + steps + example if "steps:" not in example else head + example
    (folder / "cart.yaml").write_text(parts)

    assert f"{word}:" in example
    assert read(folder).findings == ()
