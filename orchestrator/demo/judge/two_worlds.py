"""One day in two worlds: collects what both delivered, and puts the judge's numbers side by side.

`demo/day` fills a `TwoWorlds` and closes it; `cli/demo` and the report show the `Comparison` and
take the exit code from what is promised and was not held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.demo.desk import Command, delivery
from orchestrator.demo.judge.counters import Counters, judge
from orchestrator.demo.judge.evidence import Delivery, Touchpoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.core.language.shop import Channel

TO_CUSTOMERS: Final = frozenset({"message", "audience"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison. Of what is `promised`, our world must have none."""

    counter: str
    text: str
    promised: bool = False

    def value(self, counters: Counters) -> float:
        """Return the number of one world."""
        number: float = getattr(counters, self.counter)
        return number

    def shown(self, counters: Counters) -> str:
        """Return the number of one world as people read it."""
        value = self.value(counters)
        return f"{value / 60:.1f} min" if self.counter.endswith("_seconds") else f"{value:g}"


ROWS: Final = (
    Row("after_purchase", "promotions delivered after the purchase", promised=True),
    Row("during_purchase", "… while the purchase was not known yet"),
    Row("ads_seconds", "time in ads audiences after the purchase, all customers"),
    Row("greeted_as_new", "“welcome, you are new” to loyal customers", promised=True),
    Row("contradicted", "customers who held two different discounts at once", promised=True),
    Row("twice", "same message on two channels within six hours"),
    Row("without_consent", "messages and ads without consent for the channel", promised=True),
    Row("messages", "promotional messages in all"),
    Row("most", "promotional messages to one customer, at most"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The judge's numbers for both worlds, and what one customer got from the silos."""

    ours: Counters
    silos: Counters
    anas: tuple[Delivery, ...] = ()

    @property
    def broken(self) -> list[Row]:
        """The lines of which our world promises none and has some."""
        return [row for row in ROWS if row.promised and row.value(self.ours)]


@dataclass(slots=True)
class TwoWorlds:
    """What is seen of both worlds during the day."""

    channels: Mapping[str, Channel]
    touchpoints: Touchpoints = field(default_factory=Touchpoints)
    ours: list[Delivery] = field(default_factory=list)
    closed_at: float = 0.0

    def on_handed_over(
        self, command: Command, *, ordered_at: float, began_at: float, ended_at: float
    ) -> None:
        """Note a promotional command of ours that went out, if it goes to a customer."""
        if self.channels[command.channel].kind in TO_CUSTOMERS:
            self.ours.append(
                delivery(command, ordered_at=ordered_at, began_at=began_at, ended_at=ended_at)
            )

    def compare(self, silos: Sequence[Delivery], *, customer: str) -> Comparison:
        """Judge both worlds; `customer` is the one whose messages from the silos are shown."""
        silent = frozenset(
            name for name, channel in self.channels.items() if not channel.needs_consent
        )
        ours, theirs = (
            judge(world, self.touchpoints, until=self.closed_at, silent_channels=silent)
            for world in (self.ours, silos)
        )
        return Comparison(ours, theirs, tuple(d for d in silos if d.customer == customer))
