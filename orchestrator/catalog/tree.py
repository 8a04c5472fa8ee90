"""YAML text → a tree whose every node knows its line.

The first thing that happens to a file; `draft.py` turns the tree into models. Reads the event
stream of libyaml rather than its nodes: aliases, tags, duplicate keys and depth are refused where
they stand, before anything is built of them. Keys are always text and only `true` and `false` are
truth values (YAML 1.2), because YAML 1.1 reads the key `on` as true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from orchestrator.catalog.findings import AND_MORE, FINDINGS_MAX, Finding, quoted, shortened

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML was built without libyaml.
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

# The longest example journey has 4 KiB.
FILE_BYTES_MAX: Final = 256 * 1024
# The language itself needs eight.
DEPTH_MAX: Final = 32

# Up to 18 digits fit 64 bits; longer ones stay text and fail as such.
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}", re.ASCII)
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "true": True, "false": False,
}  # fmt: skip


@dataclass(slots=True)
class Node:
    """A scalar, a list of nodes or a mapping of nodes, with the line where it begins."""

    value: Any
    line: int
    key_lines: dict[str, int] = field(default_factory=dict)

    def plain(self) -> Any:
        """Return the value without lines."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def line_of(self, *path: str | int) -> int:
        """Return the line of what `path` leads to, or of the nearest thing around it."""
        node, line = self, self.line
        for part in path:
            if (child := node.child(part)) is not None:
                line = node.key_lines.get(str(part), child.line)
                node = child
        return line

    def get(self, *path: str | int) -> Any:
        """Return the plain value at `path`, or None."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node is not None else None
        return node.plain() if node is not None else None

    def child(self, part: str | int) -> Node | None:
        """Return what stands under a key or at a position, or None."""
        found = None
        if isinstance(self.value, dict):
            found = self.value.get(part)
        elif isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            found = self.value[part]
        assert found is None or isinstance(found, Node)
        return found


def read_tree(path: str, data: bytes) -> tuple[Node | None, list[Finding]]:
    """Read one file. A node is always of a mapping; None when the file cannot be understood."""
    if len(data) > FILE_BYTES_MAX:
        return None, [Finding(path, 1, f"the file is larger than {FILE_BYTES_MAX // 1024} KiB")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Finding(path, line, "the text is not UTF-8")]
    builder = _Builder(path)
    try:
        root = builder.document(text)
    except _RefusedError as refused:
        builder.findings.append(refused.finding)
        return None, builder.findings
    except yaml.YAMLError as error:
        return None, [*builder.findings, _syntax_finding(path, text, error)]
    if root is None or not isinstance(root.value, dict):
        line = root.line if root else 1
        wrong = Finding(path, line, "the file holds no mapping; write lines of `name: value`")
        return None, [*builder.findings, wrong]
    return root, builder.findings


class _RefusedError(Exception):
    """Reading ends here; what follows cannot be understood or must not be built."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class _Builder:
    """Consumes the events of one document."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []

    def document(self, text: str) -> Node | None:
        """Return the root of the only document, None of an empty file."""
        loader = _Loader(text)
        try:
            self._loader = loader
            root: Node | None = None
            while not self._next_is(yaml.StreamEndEvent):
                event = self._next()
                if not isinstance(event, yaml.DocumentStartEvent):
                    continue
                if root is not None:
                    self._refuse(_line(event), "a second document begins; write one for each file")
                root = self._node(0)
            return root
        finally:
            loader.dispose()

    def _next(self) -> Any:
        return self._loader.get_event()

    def _next_is(self, kind: type[yaml.Event]) -> bool:
        return bool(self._loader.check_event(kind))

    def _node(self, depth: int) -> Node:
        event = self._next()
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                line,
                f"alias *{shortened(str(event.anchor))}: write the value out; aliases are not read",
            )
        if event.anchor is not None:
            self._tell(
                line, f"anchor &{shortened(str(event.anchor))}: anchors are not read; remove it"
            )
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            self._refuse(line, f"tag {quoted(event.tag)}: tags are not read; remove it")
        if isinstance(event, yaml.ScalarEvent):
            return Node(_scalar(event), line)
        if depth >= DEPTH_MAX:
            self._refuse(line, f"nested deeper than {DEPTH_MAX} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(line, depth)
        return self._mapping(line, depth)

    def _sequence(self, line: int, depth: int) -> Node:
        items: list[Node] = []
        while not self._next_is(yaml.SequenceEndEvent):
            items.append(self._node(depth + 1))
        self._next()
        return Node(items, line)

    def _mapping(self, line: int, depth: int) -> Node:
        node = Node({}, line)
        while not self._next_is(yaml.MappingEndEvent):
            key, key_line = self._key()
            if key in node.value:
                first = node.key_lines[key]
                self._tell(key_line, f"{quoted(key)} stands here twice; first in line {first}")
            node.value[key] = self._node(depth + 1)
            node.key_lines[key] = key_line
        self._next()
        return node

    def _key(self) -> tuple[str, int]:
        event: Any = self._loader.peek_event()
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent):
            if isinstance(event, yaml.AliasEvent):
                self._node(0)  # Says why it is refused.
            self._refuse(line, "a key must be a word; quote text that begins with { or [")
        key = event.value
        self._node(0)
        if key == "<<" and not event.style:
            self._refuse(line, "merge key <<: write the values out; merging is not read")
        return key, line

    def _tell(self, line: int, message: str) -> None:
        if len(self.findings) == FINDINGS_MAX:
            self._refuse(1, AND_MORE)
        self.findings.append(Finding(self.path, line, message))

    def _refuse(self, line: int, message: str) -> None:
        raise _RefusedError(Finding(self.path, line, message))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if event.style or event.tag == "!":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text


def _syntax_finding(path: str, text: str, error: yaml.YAMLError) -> Finding:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        # At the end of the text libyaml points behind it.
        line = min(mark.line if mark else 0, text.rstrip("\n").count("\n")) + 1
        what = error.problem or "cannot be read"
        if error.context and error.context_mark and error.context_mark.line + 1 != line:
            what += f" {error.context} that begins in line {error.context_mark.line + 1}"
        return Finding(path, line, f"not YAML: {what}{_hint(text, mark)}")
    position = getattr(error, "position", None)
    line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
    return Finding(path, line, f"not YAML: {getattr(error, 'reason', None) or 'cannot be read'}")


def _hint(text: str, mark: yaml.Mark | None) -> str:
    lines = text.split("\n")
    if mark is None or mark.line >= len(lines):
        return ""
    character = lines[mark.line][mark.column : mark.column + 1]
    if character == "\t":
        return "; indent with spaces, not tabs"
    if character in {"@", "`", "%"}:
        return f"; quote text that begins with {character}"
    if character == ":":
        return "; quote text that holds a colon and a space"
    return ""
