"""What all parts of one decision of the model share: who, when, what is told, what is in force.

`offering`, `walk` and `turn` build on it, in this order. It decides nothing by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.crash.judge.person import Occurrence, Open, Person, Stay
    from bench.crash.judge.records import LogLine
    from bench.crash.judge.reference import Model


class Moment:
    """One decision: collects what should be told."""

    def __init__(
        self, model: Model, person: Person, line: LogLine, event: Occurrence | None
    ) -> None:
        self.model = model
        self.person = person
        self.now_ms = line.now_ms
        self.event = event
        self.resumed = line.revision is not None
        self.pauses = line.paused
        self.met: set[str] = set()
        """The scopes of the pauses that have made a difference."""
        self.known_before = dict(person.attributes)
        self.told: list[tuple[Any, ...]] = []
        self.promoted: str | None = None
        self.waiting: list[tuple[Any, Stay, int, int, Any]] = []
        self.occurred_ms = min(event.time_ms, line.now_ms) if event is not None else line.now_ms

    def pause_on(
        self, journey: str, channel: str, command_class: str, offer: str | None = None
    ) -> Mapping[str, Any] | None:
        """Return the pause that concerns a command; of several one that kills, then the widest."""
        scopes = ("global", f"channel/{channel}", f"journey/{journey}", f"offer/{offer}")
        found = [
            pause
            for scope in scopes
            for pause in self.pauses
            if pause["scope"] == scope
            and (command_class != "transactional" or pause.get("transactional"))
        ]
        if not found:
            return None
        meant = next((pause for pause in found if pause.get("kill")), found[0])
        self.met.add(meant["scope"])
        return meant

    def unreachable(self, channel: str, command_class: str) -> str | None:
        """Return why nobody may write to the customer there."""

        def known_ms(name: str) -> int:
            known = self.person.attributes.get(name)
            return -1 if known is None else known[0][0]

        permission, channels = self.person.permission, self.model.channels
        return permission.unreachable(channel, command_class, channels, known_ms)

    def recall(self, stay: Stay, gone: Iterable[Open]) -> frozenset[str]:
        """Take messages and tasks back, with one command for each topic they went out on."""
        lanes: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
        for one in gone:
            kind = "task.close" if one.kind == "task.create" else "message.cancel"
            lanes[kind, one.channel, one.promotional].add(one.id)
        for (kind, channel, promotional), ids in lanes.items():
            self.told.append(("recalled", stay.id, kind, channel, promotional, frozenset(ids)))
        recalled = frozenset().union(*lanes.values())
        self.person.permission.forget(recalled)
        return recalled

    def leave_when_empty(self, stay: Stay) -> None:
        """Forget who has come to the end and has nothing open any more."""
        if stay.step is None and not stay.open:
            self.person.stays.pop(stay.id, None)

    def variables(self, stay: Stay, word: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a template is filled in with; None when something is missing."""
        values = {}
        for name, said in word.get("variables", {}).items():
            variable = said if isinstance(said, Mapping) else {"value": said}
            value = self.model.evaluate(variable["value"], self.scope(self.event, stay))
            if value in (None, ""):
                value = variable.get("default")
            if value is None:
                return None
            values[name] = value
        return values

    def index(self, journey: Mapping[str, Any], name: str) -> int:
        """Return where a step stands."""
        return next(i for i, step in enumerate(journey["steps"]) if step["id"] == name)

    def after(self, journey: Mapping[str, Any], name: str | None) -> int:
        """Return where a step leads."""
        position = self.index(journey, name or "")
        following = journey["steps"][position].get("next")
        return position + 1 if following is None else self.index(journey, following)

    def holds(self, when: str | None, event: Occurrence | None, stay: Stay | None) -> bool:
        """Whether a condition is true; without one it is."""
        return when is None or self.model.evaluate(when, self.scope(event, stay)) is True

    def scope(self, event: Occurrence | None, stay: Stay | None) -> dict[str, Any]:
        """Return what conditions see."""
        attributes = self.person.attributes
        scope: dict[str, Any] = {
            "profile": {name: value for name, (_, value) in attributes.items()},
            "offers": self.person.promises.open_names(self.now_ms),
        }
        if event is not None:
            scope["event"] = {"type": event.type, "data": event.data}
        if stay is not None:
            skus = [product["sku"] for product in stay.products]
            scope["enrollment"] = {"id": stay.id, "key": stay.key, "skus": skus}
            scope["trigger"] = {"data": stay.trigger}
        return scope
