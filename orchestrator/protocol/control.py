"""What the topic `control` carries: by scope, whether it is paused, by whom and why.

`orchestrator pause|resume` writes it, workers and senders read it. The newest record of a scope is
what counts; compaction keeps that one.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import DecodeError, Meta, Struct, ValidationError, convert, json, to_builtins

from orchestrator.catalog.findings import instead
from orchestrator.core.pauses import GLOBAL, KINDS, TRANSACTIONAL_KINDS, Pause, Pauses
from orchestrator.errors import DependencyError, UsageError
from orchestrator.protocol.outputs import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = Annotated[
    str,
    Meta(
        pattern=r"^(global|(channel|journey|offer)/[A-Za-z0-9_.-]{1,128})$(?!\n)",
        examples=["journey/winter_sale"],
        description="What is meant: everything, a channel, a journey or an offer.",
    ),
]
# Both are copied into the journey log wherever the pause makes a difference.
Person = Annotated[str, Meta(min_length=1, max_length=128, examples=["eva@shop.example"])]
Reason = Annotated[str, Meta(min_length=1, max_length=256, examples=["wrong price"])]


class Control(Struct, frozen=True, omit_defaults=True):
    """Somebody has paused or resumed a scope; `kill` drops what it concerns instead of holding it.

    Promotional and service commands are meant; with `transactional`, which only `global` and a
    channel may have, all but cancels and removals.
    """

    scope: Scope
    paused: bool
    kill: bool
    by: Person
    reason: Reason
    at: Timestamp
    transactional: bool = False

    @property
    def pause(self) -> Pause:
        """What decisions need to know of it."""
        return Pause(self.scope, self.by, self.reason, self.kill, self.transactional)


_decoder = json.Decoder(Control)
_encoder = json.Encoder()


def scope_of(kind: str, name: str | None) -> str:
    """Return the scope of a kind and a name. Raises UsageError with what is allowed."""
    if kind not in KINDS:
        raise UsageError(f"scope: {kind!r} does not exist{instead(kind, KINDS)}")
    if kind == GLOBAL:
        if name is not None:
            raise UsageError("scope: global has no name, it means everything")
        return GLOBAL
    if name is None:
        raise UsageError(f"scope: say which {kind} is meant")
    return f"{kind}/{name}"


def checked(control: Control) -> Control:
    """Return the record when it is one that may stand on the topic. Raises UsageError."""
    try:
        convert(to_builtins(control), Control)
    except ValidationError as error:
        raise UsageError(f"control: {error}") from error
    if fault := _fault(control):
        raise UsageError(f"control: {fault}")
    return control


def encode_control(control: Control) -> tuple[bytes, bytes]:
    """Return key and value of a record of the topic."""
    return control.scope.encode(), _encoder.encode(control)


def decode_control(key: bytes | None, value: bytes, *, where: str) -> Control:
    """Read a record. Raises DependencyError for one that does not say clearly what is meant."""
    try:
        control = _decoder.decode(value)
    except (DecodeError, UnicodeDecodeError) as error:
        raise DependencyError(f"{where}: is no word about a pause: {error}") from error
    fault = _fault(control)
    if key != control.scope.encode():
        fault = f"the key is {key!r}, but it is about {control.scope}"
    if fault:
        raise DependencyError(f"{where}: is no word about a pause: {fault}")
    return control


def _fault(control: Control) -> str | None:
    if control.transactional and control.pause.kind not in TRANSACTIONAL_KINDS:
        return f"transactional is for {' and '.join(TRANSACTIONAL_KINDS)} only"
    try:
        datetime.fromisoformat(control.at)
    except ValueError:
        return f"at is {control.at!r}, no time like 2026-11-22T10:00:00Z"
    return None


class Controls:
    """What has been read of the topic; `next_offset` is where to read on."""

    def __init__(self) -> None:
        self._by_scope: Final[dict[str, Control]] = {}
        self.next_offset = 0

    def take(self, offset: int, key: bytes | None, value: bytes | None, *, where: str) -> None:
        """Take in one more record; no value means that nobody pauses the scope of the key.

        Raises DependencyError for one that cannot be read; then what was said before holds.
        """
        self.next_offset = offset + 1
        if value is None:
            self._by_scope.pop((key or b"").decode("utf-8", "replace"), None)
            return
        control = decode_control(key, value, where=where)
        self._by_scope[control.scope] = control

    @property
    def paused(self) -> tuple[Control, ...]:
        """Everything that is paused, by scope."""
        return tuple(
            self._by_scope[scope]
            for scope in sorted(self._by_scope)
            if self._by_scope[scope].paused
        )

    def pauses(self) -> Pauses:
        """Return what is paused now, for decisions."""
        return Pauses((control.pause for control in self.paused), self.next_offset)


def told(controls: Iterable[Control]) -> list[str]:
    """Return a sentence for each scope that is paused."""
    return [
        f"{one.scope}  {'killed' if one.kill else 'paused'}"
        f"{', transactional too' if one.transactional else ''}, since {one.at} "
        f"by {one.by}: {one.reason}"
        for one in controls
    ]
