"""CEL conditions of journeys, compiled once at load; contexts carry only what journeys name.

Evaluating against a prepared context is cheap, converting values into one is not: callers build
one context for a decision from the paths in `Expression.paths` and reuse it.
"""

from __future__ import annotations

import re
from typing import Any, Final, Self

import cel

SOURCE_CHARACTERS_MAX: Final = 2_000
_PATH = re.compile(r"\b(event|trigger)\.data\.([A-Za-z_][A-Za-z0-9_]*)|\bprofile\.([A-Za-z_][A-Za-z0-9_]*)")
ROOTS: Final = frozenset({"event", "trigger", "profile", "enrollment", "now"})


class Expression:
    """One CEL expression: its source, its compiled program, and the top-level paths it reads.

    Raises ValueError with a readable message when the source does not compile or names an
    unknown root.
    """

    __slots__ = ("event_fields", "profile_fields", "program", "roots", "source", "trigger_fields")

    def __init__(self, source: str) -> None:
        if len(source) > SOURCE_CHARACTERS_MAX:
            raise ValueError(f"expression is longer than {SOURCE_CHARACTERS_MAX} characters")
        self.source = source
        try:
            self.program = cel.compile(source)
        except Exception as error:  # The binding raises several types; all mean "cannot compile".
            raise ValueError(f"not a CEL expression: {error}") from error
        variables = frozenset(self.program.references()["variables"])
        self.roots = variables & ROOTS
        fields = _PATH.findall(source)
        self.event_fields = frozenset(name for root, name, _ in fields if root == "event")
        self.trigger_fields = frozenset(name for root, name, _ in fields if root == "trigger")
        self.profile_fields = frozenset(name for _, _, name in fields if name)

    def evaluate(self, context: cel.Context) -> Any:
        """Return the value. Raises whatever CEL raises; `core` turns that into a reason."""
        return self.program.execute(context)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Accept a string or an Expression; raise ValueError for anything else."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("an expression is written as text")
        return cls(value)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)
