"""Ids that become one customer, and customers who are forgotten: what a decision does then.

By docs/identity.md and docs/erasure.md alone. `replay` makes a `Kindred` of every line of the
journey log; what it does beyond a `Turn` is what the owners of ids tell each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.crash.judge.kin import addresses, is_anonymous, moved, nameless, pair
from bench.crash.judge.person import Occurrence, Person
from bench.crash.judge.promises import contradict
from bench.crash.judge.turn import Turn
from bench.crash.judge.union import unite

if TYPE_CHECKING:
    from bench.crash.judge.kin import Address
    from bench.crash.judge.person import Order, Stay
    from bench.crash.judge.records import LogLine
    from bench.crash.judge.reference import Model

ERASED = "customer.erased"
IDENTIFIED = "profile.identified"
Exits = Iterable[tuple[int, Occurrence]]


class Kindred(Turn):
    """One decision, also about who somebody is."""

    def __init__(
        self, model: Model, person: Person, line: LogLine, event: Occurrence | None
    ) -> None:
        super().__init__(model, person, line, event)
        self.left: Person | None = None
        """Who has left for another id in this decision."""
        self.claims: list[tuple[Address, bool]] = []
        """The addresses that this decision claims, or gives back."""
        self._recalled: set[str] = set()

    def take(self) -> None:
        """Go the whole way of an event, a wait, or the end of a pause."""
        had = addresses(self.person.plain())
        if self.event is not None and self.event.type == ERASED:
            self._erase()
            return
        super().take()
        if self.event is not None and self.event.type == IDENTIFIED:
            self._ask(self.event)
        self._claim(had)

    def hand_over(self, survivor: str) -> None:
        """Become another id: everything but the pointer leaves."""
        person = self.person
        person.changed = True
        self.forget_expired()
        stays = [self._leave(stay) for stay in list(person.stays.values())]
        self._release()
        self.told.append(("merged_into", survivor))
        self.left = copy(person)
        self.left.stays = {stay.id: stay for stay in stays if stay is not None}
        self.left.erased_ms, self.left.floor = None, 0
        for held in self.left.promises.held.values():
            held.stay = None if held.stay is None else moved(held.stay, person.id)
        self._blank(person)
        person.absorbed = set()
        person.moved_to = survivor

    def take_over(self, came: Person) -> None:
        """Take in who has left for this id, and let one go on of what both are in."""
        person = self.person
        person.changed = True
        had = addresses(person.plain())
        own, own_exits, own_orders = list(person.stays.values()), [*person.exits], {**person.orders}
        own_used, own_over = {k: set(v) for k, v in person.used.items()}, set(person.over)
        unite(person, came)
        self.told.append(("absorbed", came.id))
        taken = [stay for stay in came.stays.values() if stay.id not in person.stays]
        for stay in taken:
            person.stays[stay.id] = stay
            self.told.append(("taken_over", stay.id, stay.step, stay.wake_at_ms))
        self._end_exited(own, [*came.exits, *_bought(came.orders, own_orders)])
        self._end_exited(taken, [*own_exits, *_bought(own_orders, came.orders)])
        for stay in taken:
            self._end_the_nearer(stay, own)
        self._end_finished(taken, own_used, own_over)
        self._end_finished(own, came.used, came.over)
        for name, made in self._confirm():
            self.say_instead(name, made)
        self._end_contradicted()
        self.forget_expired()
        # A pause may be over that has held them when they left.
        held = [stay for stay in person.stays.values() if stay.held == "paused"]
        for stay in sorted(held, key=lambda one: (one.due_ms or 0, one.id)):
            self.go_on(stay)
        self.choose()
        self._claim(had)

    def hear_of_others(self, address: Address, others: tuple[str, ...]) -> None:
        """Hear who has the same address."""
        by, person = address[0], self.person
        others = tuple(one for one in others if one != person.id and one not in person.absorbed)
        if address in addresses(person.plain()) and others:
            merges = self.model.shop["identity"][f"shared_{by}"] == "merge"
            self.told.append(("duplicate_found", by, frozenset(others), merges))

    def _ask(self, event: Occurrence) -> None:
        ids = [
            self.person.id if one in self.person.absorbed else one
            for one in (event.data["anonymous_id"], event.data["customer_id"])
        ]
        if ids[0] != ids[1]:
            self.told.append(("merge_requested", *pair(*ids)))

    def _leave(self, stay: Stay) -> Stay | None:
        """Recall what advertises, and return what goes on under the other id."""
        del self.person.stays[stay.id]
        gone = [one for one in stay.open if one.promotional and not one.audience]
        self._recall(stay, gone)
        self.leave_audiences(stay)
        stay.open = [one for one in stay.open if not one.promotional and not one.audience]
        goes_on = stay.step is not None or stay.open
        becomes = moved(stay.id, self.person.id) if goes_on else None
        ids = frozenset(one.id for one in gone)
        self.told.append(("handed_over", stay.id, becomes, ids))
        return None if becomes is None else replace(stay, id=becomes)

    def _recall(self, stay: Stay, gone: list[Any]) -> None:
        self._recalled |= self.recall(stay, gone)
        self.forget_recalled(self._recalled)

    def _end_exited(self, stays: list[Stay], exits: Exits) -> None:
        for stay in stays:
            if any(self._exits(stay, at_ms, event) for at_ms, event in exits):
                self._over_with(stay, "exit")

    def _exits(self, stay: Stay, at_ms: int, event: Occurrence) -> bool:
        return at_ms >= stay.entry_ms and any(
            one["on"] == event.type and self.holds(one.get("when"), event, stay)
            for one in stay.journey.get("exits", ())
        )

    def _over_with(self, stay: Stay, reason: str, *, remembered: bool = True) -> None:
        self._recalled |= self.end(stay, reason, remembered=remembered)
        self.forget_recalled(self._recalled)

    def _end_the_nearer(self, taken: Stay, own: list[Stay]) -> None:
        """Of two in one journey with one key, let the further one go on; of equals one's own."""
        for rival in own:
            if taken.step is None or taken.id not in self.person.stays:
                return
            same = (rival.journey["name"], rival.key) == (taken.journey["name"], taken.key)
            if not same or rival.step is None or rival.id not in self.person.stays:
                continue
            further = self._place(taken) > self._place(rival)
            # They are still in it, so that nothing is remembered as over.
            self._over_with(rival if further else taken, "merged", remembered=False)

    def _place(self, stay: Stay) -> tuple[int, int]:
        return self.index(stay.journey, stay.step or ""), len(stay.tried)

    def _end_finished(
        self, stays: list[Stay], used: Mapping[str, set[str]], over: set[str]
    ) -> None:
        """End what the other one has been through, where nobody goes through it twice."""
        for stay in stays:
            if stay.step is None or stay.id not in self.person.stays:
                continue
            name = stay.journey["name"]
            once = stay.journey["entry"].get("reentry") == "once" and name in over
            if stay.key in used.get(name, ()) if stay.key is not None else once:
                self._over_with(stay, "merged")

    def _end_contradicted(self) -> None:
        """Of two promises that contradict each other, let the older one stand."""
        held, offers = self.person.promises.held, self.model.offers
        standing: list[str] = []
        names = [name for name, one in held.items() if one.is_open(self.now_ms)]
        for name in sorted(names, key=lambda one: (held[one].provisional, held[one].made_ms, one)):
            if any(contradict(offers, other, name) for other in standing):
                self._take_back(name, held[name], "contradicted")
            else:
                standing.append(name)

    def _erase(self) -> None:
        """Forget somebody: everything ends, and nothing but the marker stays."""
        person = self.person
        person.changed = True
        self.forget_expired()
        self._release()
        person.promises.held = {}
        stays = list(person.stays.values())
        for stay in stays:
            del person.stays[stay.id]
            gone = [one for one in stay.open if not one.audience]
            unnamed = replace(stay, id=nameless(stay.id))
            ids = frozenset(one.id for one in gone)
            self.told.append(("ended", unnamed.id, "erased", ids))
            self.recall(unnamed, gone)
            self.leave_audiences(unnamed)
        until_ms = max(self.occurred_ms, person.erased_ms or 0)
        self.told.append(("customer_erased", until_ms, len(stays)))
        person.floor = max(person.entries.values(), default=person.floor)
        self._blank(person)
        person.erased_ms = until_ms

    def _claim(self, had: set[Address]) -> None:
        has = addresses(self.person.plain())
        self._tell_owners(has - had, ended=False)
        self._tell_owners(had - has, ended=True)

    def _release(self) -> None:
        self._tell_owners(addresses(self.person.plain()), ended=True)

    def _tell_owners(self, of: set[Address], *, ended: bool) -> None:
        said = self.model.shop["identity"]
        if not is_anonymous(self.person.id):
            self.claims += [(one, ended) for one in of if said[f"shared_{one[0]}"] != "ignore"]

    @staticmethod
    def _blank(person: Person) -> None:
        """Leave nothing of somebody but which ids they were, and how many commands they had."""
        fresh = Person(person.id)
        for name in (
            *("seen", "business", "attributes", "orders", "stays", "entries", "touched_ms"),
            *("used", "over", "exits", "permission", "promises", "answers"),
        ):
            setattr(person, name, getattr(fresh, name))


def _bought(
    orders: Mapping[str, Order], known: Mapping[str, Order]
) -> list[tuple[int, Occurrence]]:
    """Return the orders that only one of two ids knows, as the purchases that they were."""
    found = []
    for name, order in orders.items():
        if name in known or order.cancelled or not order.lines:
            continue
        items = [{**product, "sku": sku} for sku, (product, _) in order.lines.items()]
        data = {"order_id": name, "items": items}
        bought = Occurrence("", name, "purchase", "", order.time_ms, data, backfill=False)
        found.append((order.time_ms, bought))
    return found
