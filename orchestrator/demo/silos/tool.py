"""What the tool of one channel team can do: its own contacts, delays, and a nightly import.

No strawman: such tools read the stream of events in real time, wait before they remind, and leave
out who has bought, as far as they know. What they do not have is each other, and the purchases of
the shop system before the nightly import. `teams` holds the rules, `loops` runs them on Kafka.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from orchestrator.demo.judge.evidence import Kind, skus_of
from orchestrator.demo.shop import quicker_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NIGHT_SECONDS: Final = quicker_seconds("24h")


@dataclass(frozen=True, slots=True)
class Send:
    """One thing that a tool sends, by itself and for good: nobody can take it back."""

    id: str
    customer: str
    channel: str
    kind: Kind
    name: str
    skus: frozenset[str]
    trigger: str


class Tool:
    """One channel's tool. Time is given in seconds of any clock that does not go back."""

    channel: ClassVar[str]

    def __init__(self) -> None:
        self._later: list[tuple[float, int, Send]] = []
        self._numbers = count()
        self._todays_orders: list[tuple[str, frozenset[str]]] = []
        self._bought: dict[str, set[str]] = {}
        self._night_at: float | None = None

    def on_event(self, event: Mapping[str, Any], at: float) -> list[Send]:
        """Take in one event of the shop and return what goes out at once."""
        if event["type"] == "purchase":
            # The shop system's export; the tool gets it with the next nightly import.
            self._todays_orders.append((event["subject"], skus_of(event["data"])))
        return list(self.rules(event, at))

    def on_clock(self, at: float) -> list[Send]:
        """Return what is due by now, and what the nightly import brings about."""
        sends: list[Send] = []
        if self._night_at is None:
            self._night_at = at + NIGHT_SECONDS
        if at >= self._night_at:
            self._night_at += NIGHT_SECONDS
            for customer, skus in self._todays_orders:
                self._bought.setdefault(customer, set()).update(skus)
            self._todays_orders.clear()
            sends += self.nightly()
        while self._later and self._later[0][0] <= at:
            send = heapq.heappop(self._later)[2]
            if not self.knows_bought(send):
                sends.append(send)
        return sends

    def rules(self, event: Mapping[str, Any], at: float) -> Iterable[Send]:
        """Yield what the team sends because of an event. Each team writes its own."""
        raise NotImplementedError

    def nightly(self) -> list[Send]:
        """Return what the team does after the nightly import."""
        return []

    def knows_bought(self, send: Send) -> bool:
        """Whether the tool's own list says that the customer has bought what this is about."""
        bought = self._bought.get(send.customer)
        return bought is not None and (not send.skus or bool(send.skus & bought))

    def send(
        self, event: Mapping[str, Any], name: str, kind: Kind = Kind.MESSAGE, *, about: bool = False
    ) -> Send:
        """Return something to send because of an event; `about` the products of it or the shop."""
        return Send(
            id=f"{self.channel}-{next(self._numbers)}",
            customer=event["subject"],
            channel=self.channel,
            kind=kind,
            name=name,
            skus=skus_of(event["data"]) if about else frozenset(),
            trigger=event["id"],
        )

    def after(self, wait: str, at: float, send: Send) -> None:
        """Send something later, unless the nightly import has shown a purchase by then."""
        heapq.heappush(self._later, (at + quicker_seconds(wait), next(self._numbers), send))
