"""What stands against handing over: cancels, fences, pauses, and the allow-list of test mode.

Three tables that `follower` keeps up to the ends of their topics. Pure. What cannot be read is
told and passed over, but never lets something go out that a readable record would hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import MsgspecError, json

from orchestrator.errors import DependencyError
from orchestrator.protocol.control import decode_control
from orchestrator.protocol.outputs import Fence
from orchestrator.sender.rules.command import CANCELLING, TRANSACTIONAL, Unreadable, time_ms

if TYPE_CHECKING:
    from orchestrator.protocol.control import Control
    from orchestrator.sender.rules.command import Command, Place
    from orchestrator.sender.rules.lane import Lane

# The fence of every enrollment of a customer, who was erased.
EVERY_ENROLLMENT: Final = "*"
# A clock that runs behind must not forget a fence that another clock's command still needs.
_KEPT_MS: Final = 60 * 60 * 1000

Standing = Literal["", "paused", "killed"]


class Cancels:
    """Ids of commands that must not be sent any more, with the place of the cancel."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def __contains__(self, command_id: str) -> bool:
        return command_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def take(self, command: Command) -> None:
        """Remember what a cancel names."""
        if command.type in CANCELLING:
            self._places.update(dict.fromkeys(command.cancels, command.place))

    def prune(self, lane: Lane) -> None:
        """Forget what nobody can want to send any more.

        A cancel stands behind what it names on the same partition: once the reader of the lane has
        come past the cancel, an id is needed only as long as its command is in hand.
        """
        for command_id, place in list(self._places.items()):
            if lane.is_past(place) and not lane.holds(command_id):
                del self._places[command_id]


class Fences:
    """Enrollments that are over, by customer, from the topic `fences`."""

    def __init__(self) -> None:
        self._by_customer: dict[str, dict[str, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._by_customer)

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """Take in a record; return False when it cannot be read, which leaves what was known."""
        if key is None:
            return False
        customer = key.decode("utf-8", "replace")
        if value is None:
            self._by_customer.pop(customer, None)
            return True
        try:
            fence = json.decode(value, type=Fence)
            self._by_customer[customer] = {
                one.enrollment: (one.sequence, time_ms("expires_at", one.expires_at))
                for one in fence.enrollments
            }
        except (MsgspecError, Unreadable, UnicodeDecodeError):
            return False
        return True

    def covers(self, command: Command) -> bool:
        """Whether the command's enrollment was over when, or after, the command was born."""
        fences = self._by_customer.get(command.customer)
        if fences is None:
            return False
        found = (fences.get(command.enrollment), fences.get(EVERY_ENROLLMENT))
        return any(one is not None and command.sequence <= one[0] for one in found)

    def forget(self, now_ms: int) -> None:
        """Drop fences that no command can meet any more."""
        for customer, fences in list(self._by_customer.items()):
            if all(until_ms + _KEPT_MS < now_ms for _, until_ms in fences.values()):
                del self._by_customer[customer]


class Controls:
    """What is paused or killed, by scope, from the topic `control`."""

    def __init__(self) -> None:
        self._by_scope: dict[str, Control] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """Take in a record; return False when it cannot be read, which leaves what was known."""
        if key is None:
            return False
        scope = key.decode("utf-8", "replace")
        if value is None:
            self._by_scope.pop(scope, None)
            return True
        try:
            control = decode_control(key, value, where="control")
        except DependencyError:
            return False
        if control.paused:
            self._by_scope[scope] = control
        else:
            self._by_scope.pop(scope, None)
        return True

    def standing(self, command: Command) -> Standing:
        """Return whether a command is held, to be dropped, or free to go."""
        if not self._by_scope or command.ends_something:
            return ""
        found: Standing = ""
        for scope in _scopes(command):
            control = self._by_scope.get(scope)
            if control is None or not _concerns(scope, control, command):
                continue
            if control.kill:
                return "killed"
            found = "paused"
        return found


def _scopes(command: Command) -> tuple[str, ...]:
    named: tuple[tuple[str, Any], ...] = (
        ("journey", command.journey),
        ("channel", command.channel),
        ("offer", command.offer),
    )
    return ("global", *(f"{kind}/{name}" for kind, name in named if name))


def _concerns(scope: str, control: Control, command: Command) -> bool:
    """Order confirmations go on unless the whole channel or everything is to stand still."""
    if command.command_class != TRANSACTIONAL:
        return True
    return control.transactional and (scope == "global" or scope.startswith("channel/"))
