"""Random profiles from a seed: everything that two ids can know of one customer.

Few values, so that both ids often speak of the same thing. A seed is much faster than drawing every
field, and one that fails is as easy to run again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from orchestrator.core.customer import (
    AnsweredHours,
    Attribute,
    Cause,
    Consent,
    Contact,
    Customer,
    Habits,
    JourneyMemory,
    Kin,
    Order,
    OrderLine,
    Product,
    Promise,
    Recent,
    RememberedExit,
    Removal,
    Response,
    Sent,
    Watch,
)
from orchestrator.core.derived.kept import Derived, Tally
from orchestrator.core.identity.merge import united

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VALUES: tuple[Any, ...] = (None, 1, True, "x", "y", [1], {"k": 1})


class Chance(random.Random):
    """Draws the parts of a profile."""

    def name(self) -> str:
        return self.choice("abc")

    def text(self) -> str | None:
        return self.choice((None, "", "x", "y"))

    def time(self) -> int:
        return self.randrange(4)

    def maybe_time(self) -> int | None:
        return self.choice((None, self.time()))

    def flag(self) -> bool:
        return self.random() < 0.5

    def mapping(self, draw: Callable[[], Any]) -> dict[str, Any]:
        return {self.name(): draw() for _ in range(self.randrange(4))}

    def each(self, draw: Callable[[str], Any]) -> tuple[Any, ...]:
        """Return things with different names, in any order."""
        names = self.sample("abc", self.randrange(4))
        return tuple(draw(name) for name in names)

    def order(self, order_id: str) -> Order:
        lines = self.each(
            lambda sku: OrderLine(
                Product(sku, self.text(), self.text()), self.randrange(3), self.randrange(3)
            )
        )
        gone = self.random() < 0.3
        return Order(order_id, self.time(), () if gone else lines, gone)

    def memory(self) -> JourneyMemory:
        ended = self.each(lambda key: (key, self.time()))
        last = self.maybe_time()
        return JourneyMemory(self.time(), self.time(), last, ended, self.maybe_time())

    def contact(self) -> Contact:
        def sent(name: str) -> Sent:
            about = (self.name(), self.name(), self.name())
            return Sent(name, self.time(), *about, self.time(), self.flag())

        def consent() -> Consent:
            return Consent(self.flag(), self.time(), self.name(), self.name())

        return Contact(
            consents=self.mapping(consent),
            bounced=self.mapping(self.time),
            sends=self.each(sent),
            talking_until_ms=self.time(),
            promoted_ms=self.time(),
            removals=self.each(lambda name: Removal(name, self.time())),
            recent=self.each(self.recent)[:2],
        )

    def recent(self, name: str) -> Recent:
        fate = self.choice(("sent", "cancelled", "opened", "dropped"))
        about = (self.name(), self.name(), self.name())
        return Recent(name, self.time(), *about, fate, self.maybe_time())

    def derived(self) -> Derived:
        tallies = self.mapping(lambda: Tally(self.time(), self.randbytes(self.randrange(3))))
        return Derived(self.maybe_time(), tallies)

    def promise(self) -> Promise:
        return Promise(
            self.time(),
            self.time(),
            self.text(),
            self.text(),
            self.flag(),
            self.text(),
            self.maybe_time(),
            self.text(),
            self.maybe_time(),
            self.text(),
        )

    def exit(self) -> RememberedExit:
        cause = Cause(self.name(), self.name())
        data = self.mapping(lambda: self.choice(VALUES))
        return RememberedExit(self.name(), self.time(), cause, data)

    def habits(self) -> Habits:
        hours = AnsweredHours(self.time(), self.randbytes(48))
        responses = {self.name(): Response(self.time(), self.time())}
        return Habits(self.time(), self.choice((None, hours)), self.choice(({}, responses)))

    def kin(self) -> Kin:
        asked = self.each(lambda name: (name, self.name()))
        return Kin(None, self.mapping(self.time), self.mapping(self.habits), asked)

    def marks(self) -> bytes:
        return b"".join(
            one.to_bytes(6, "big") for one in self.sample(range(40), self.randrange(25))
        )

    def profile(self) -> Customer:
        """Return what one id may know, however it came to be written."""
        slots = self.sample(range(90), self.choice((0, 3, 64)))
        return Customer(
            id=self.name(),
            sequence=self.time(),
            now_ms=self.time(),
            seen=_joined(n.to_bytes(8, "big") + bytes((0, 0, 0, self.time())) for n in slots),
            seen_times=_joined(self.randrange(20).to_bytes(4, "big") for _ in slots),
            business=_joined(
                name.encode() * 8 + self.time().to_bytes(6, "big") for name in self.each(str)
            ),
            attributes=self.mapping(
                lambda: Attribute(self.choice(VALUES), self.time(), self.name(), self.name())
            ),
            orders=self.each(self.order),
            memories=self.mapping(self.memory),
            exits=tuple(self.exit() for _ in range(self.choice((0, 2, 40)))),
            watches=self.mapping(lambda: Watch(self.time(), self.maybe_time(), self.maybe_time())),
            asked=self.mapping(self.name),
            contact=self.contact(),
            promises=self.mapping(self.promise),
            earned=self.mapping(self.marks),
            derived=self.derived(),
            kin=self.choice((None, self.kin())),
        )


def profile(seed: int) -> Customer:
    """Return a random profile in the form in which a union writes it."""
    raw = Chance(seed).profile()
    return united(raw, Customer(raw.id))


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)
