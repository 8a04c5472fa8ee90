"""What somebody has paused: the part of the rules that says what may not go out now.

`protocol/control` makes it from the records of the topic `control`, `Journeys.pausing` hands it to
`decide`, and `rules/guard` asks it before a step reaches anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orchestrator.core.command import CommandClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GLOBAL: Final = "global"
# From the broadest to the narrowest: of several pauses that hold the same, the broadest is named.
KINDS: Final = (GLOBAL, "channel", "journey", "offer")
# Only these may hold transactional messages too: an order confirmation belongs to no campaign.
TRANSACTIONAL_KINDS: Final = (GLOBAL, "channel")


class Pause(Struct, frozen=True, omit_defaults=True, gc=False):
    """Somebody keeps a scope from going out: held until resume, or dropped with `kill`.

    `scope` is `global`, `journey/<name>`, `channel/<name>` or `offer/<name>`. Promotional and
    service messages are meant; with `transactional` those too.
    """

    scope: str
    by: str
    reason: str
    kill: bool = False
    transactional: bool = False

    @property
    def kind(self) -> str:
        """What is paused: `global`, `channel`, `journey` or `offer`."""
        return self.scope.partition("/")[0]

    def sentence(self) -> str:
        """Return what is paused, by whom and why, as the journey log says it."""
        return f"{self.scope} by {self.by}: {self.reason}"


class Pauses:
    """Everything that is paused at one time; never changed, only replaced.

    `revision` tells one time from another: the next offset of the topic when this was read.
    """

    __slots__ = ("_by_scope", "revision")

    def __init__(self, pauses: Iterable[Pause] = (), revision: int = 0) -> None:
        self._by_scope: Final[Mapping[str, Pause]] = {pause.scope: pause for pause in pauses}
        self.revision: Final = revision

    def __bool__(self) -> bool:
        return bool(self._by_scope)

    @property
    def all(self) -> tuple[Pause, ...]:
        """The pauses, by scope."""
        return tuple(self._by_scope[scope] for scope in sorted(self._by_scope))

    def of(
        self, *, journey: str, channel: str, command_class: CommandClass, offer: str | None = None
    ) -> Pause | None:
        """Return the pause that concerns such a command, if any; one that kills before others.

        The choice among several follows from them alone, so that a decision comes out the same
        with only those that it has met.
        """
        found: Pause | None = None
        if not self._by_scope:
            return found
        transactional = command_class is CommandClass.TRANSACTIONAL
        for scope in (GLOBAL, f"channel/{channel}", f"journey/{journey}", f"offer/{offer}"):
            pause = self._by_scope.get(scope)
            if pause is None or (transactional and not pause.transactional):
                continue
            if pause.kill:
                return pause
            found = found or pause
        return found


NO_PAUSES: Final = Pauses()
