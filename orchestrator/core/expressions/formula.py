"""CEL expressions of `inputs.yaml`: over a record of somebody else's topic, never over a customer.

`catalog` compiles a `Formula` once at load; `protocol/inputs` evaluates it on a record. The core
itself never does: it sees only the events that come of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import cel

from orchestrator.core.expressions.comparison import path_of
from orchestrator.core.expressions.condition import SOURCE_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD: Final = "record"
# Inside a rule with `each`: one element of its list, and which one, from 0.
ELEMENT: Final = frozenset({"item", "index"})
FORMULA_ROOTS: Final = ELEMENT | {RECORD}
RECORD_MEMBERS: Final = frozenset(
    {
        *("value", "key", "headers"),
        *("topic", "partition", "offset", "timestamp", "timestamp_type"),
    }
)
# What an expression may call besides CEL's own functions.
DECIMAL: Final = "decimal"

STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_BOUND: Final = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_LOOP_OR_BRACKET: Final = re.compile(
    r"\.\s*(?:all|exists|exists_one|map|filter)\s*(?P<loop>\()|(?P<open>\()|(?P<close>\))"
)
_PLAIN_PATH: Final = re.compile(
    r"\s*(?:record|item)(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)*\s*|\s*index\s*", re.ASCII
)


class Formula:
    """One CEL expression: its source, its compiled program, and what it reads.

    `path` is set when it is nothing but a path (`record.value.order_no`): it is looked up, without
    CEL. `unknown` are names that it does not see, `loops` is how deep its loops over lists nest.
    Raises ValueError with a readable message when the source does not compile.
    """

    __slots__ = ("functions", "loops", "path", "program", "roots", "source", "unknown")

    def __init__(self, source: str) -> None:
        if len(source) > SOURCE_CHARACTERS_MAX:
            raise ValueError(f"expression is longer than {SOURCE_CHARACTERS_MAX} characters")
        self.source = source
        try:
            self.program = cel.compile(source)
        except Exception as error:  # The binding raises several types; all mean "cannot compile".
            raise ValueError(f"not a CEL expression: {error}") from error
        references = self.program.references()
        variables = frozenset(references["variables"])
        self.functions = tuple(name for name in references["functions"] if name[0].isalpha())
        self.roots = variables & FORMULA_ROOTS
        self.unknown = variables - FORMULA_ROOTS - frozenset(_BOUND.findall(source))
        self.path = path_of(source) if _PLAIN_PATH.fullmatch(source) else None
        self.loops = max(_loops(STRING.sub('""', source)), default=0)

    def evaluate(self, context: cel.Context) -> Any:
        """Return the value. Raises whatever CEL raises."""
        return self.program.execute(context)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Accept a string or a Formula; raise ValueError for anything else."""
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping | list):
            raise ValueError("is no expression; write one line of CEL")  # noqa: TRY004 - pydantic's way.
        if not isinstance(value, str):
            raise ValueError("an expression is written as text")  # noqa: TRY004 - As above.
        return cls(value)

    def __repr__(self) -> str:
        return f"Formula({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)


def _loops(source: str) -> Iterator[int]:
    """Yield at each loop over a list how many loops are open there."""
    brackets: list[bool] = []
    for found in _LOOP_OR_BRACKET.finditer(source):
        if found["close"] is None:
            brackets.append(found["loop"] is not None)
            yield sum(brackets)
        elif brackets:
            brackets.pop()
