"""What has been counted for derived attributes, as plain data that merges and can be undone.

An event that counts is kept on its own while it may be undone, or while a window looks at it; after
that it goes into a total. `follow` writes tallies, `values` reads them; nothing in here knows what
a shop has declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from msgspec import Struct, field, msgpack

from orchestrator.core.derived.amounts import ZERO, added, part_of, text_of, times
from orchestrator.core.derived.kept import Derived, Tally

# For so long after it was learned a purchase can be taken back to the cent, as `offers/ledger`
# takes a redemption back. The contract promises 90 days.
UNDO_MS: Final = 180 * 86_400_000
# Of one series. Beyond them the oldest go into the total, however young they are.
COUNTED_MAX: Final = 256
# An order of more articles than this is counted by the first of them.
LINES_MAX: Final = 64
# Different values of one field that a total knows.
VALUES_MAX: Final = 64
# Ids that were merged into this customer, of which it is known that they are counted here.
ABSORBED_MAX: Final = 64
TIME: Final = "time"
ITEMS: Final = "items."


class Line(Struct, frozen=True, array_like=True, gc=False):
    """One article of an order; `price` is that of a piece, `told` what its fields say."""

    sku: str
    quantity: int
    price: str | None = None
    told: Mapping[str, str] = field(default_factory=dict)


class Counted(Struct, frozen=True, array_like=True, gc=False):
    """One event that counts, and what is known of its undoing.

    `came` is False while only a return or a cancellation of it is known. `gone` says that the whole
    of it was taken back, `returns` what came back by line, by the digest of who told it.
    """

    time_ms: int
    learned_ms: int
    came: bool = False
    gone: bool = False
    numbers: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    returns: Mapping[bytes, tuple[tuple[str, int], ...]] = field(default_factory=dict)


class Numbers(Struct, frozen=True, array_like=True, gc=False):
    """What a numeric field came to: how many values, their sum, the largest and the smallest."""

    count: int
    sum: str
    max: str
    min: str


Ranked = tuple[int, bytes, str]


class Total(Struct, frozen=True, array_like=True, gc=False):
    """What events came to of which each one is no longer known, by field.

    `newest` and `oldest` are (event time, mark, value); `weights` count each value, `seen` says
    when it came last.
    """

    events: int = 0
    pieces: int = 0
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    newest: Mapping[str, Ranked] = field(default_factory=dict)
    oldest: Mapping[str, Ranked] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Series(Struct, frozen=True, array_like=True, gc=False):
    """All events of one type that meet one condition: those still known, by mark, and the rest."""

    counted: Mapping[bytes, Counted] = field(default_factory=dict)
    total: Total = Total()


class Effect(NamedTuple):
    """What one event amounts to after all that was taken back of it."""

    time_ms: int
    mark: bytes
    pieces: int
    numbers: Mapping[str, Decimal]
    told: Mapping[str, str]
    weights: Mapping[str, Mapping[str, int]]


Content = Mapping[str, Series]
NOTHING_COUNTED: Final[Content] = {}
_encode: Final = msgpack.Encoder().encode
_decoder: Final = msgpack.Decoder(dict[str, Series])


def merged(one: Derived, other: Derived) -> Derived:
    """Return what two ids have counted that turned out to be one customer.

    Commutative, associative and idempotent: every id has its own tally, which only one place
    writes at a time, so of two tallies of one id the later one holds everything in the other. What
    both ids counted is told apart when it is read (`opened`). The values have to be worked out
    again after it (`follow.derive_again`); until then the earlier of the two times holds.
    """
    tallies = dict(one.tallies)
    for name, tally in other.tallies.items():
        held = tallies.get(name)
        if held is None or (held.version, held.content) < (tally.version, tally.content):
            tallies[name] = tally
    dues = [one_ms for one_ms in (one.due_ms, other.due_ms) if one_ms is not None]
    return Derived(min(dues, default=None), {name: tallies[name] for name in sorted(tallies)})


def opened(derived: Derived) -> Content:
    """Return everything that is counted, of whatever id; an event that both know counts once."""
    content: Content = NOTHING_COUNTED
    for name in sorted(derived.tallies):
        held = derived.tallies[name].content
        if held:
            found = _decoder.decode(held)
            content = _together(content, found) if content else found
    return content


def closed(derived: Derived, own: str, content: Content, due_ms: int | None) -> Derived:
    """Return what is to be kept, all of it under the customer's own id.

    A tally that was taken over stays as an empty one with a later version: so it is not counted
    twice if its id is merged once more. The object is the same when nothing has changed.
    """
    held = derived.tallies.get(own)
    encoded = _encode(content) if content else b""
    others = {name: tally for name, tally in derived.tallies.items() if name != own}
    taken_over = any(tally.content for tally in others.values())
    same = encoded == (b"" if held is None else held.content)
    if same and not taken_over:
        return derived if due_ms == derived.due_ms else Derived(due_ms, derived.tallies)
    taken = {
        name: tally if not tally.content else Tally(tally.version + 1, b"")
        for name, tally in others.items()
    }
    kept = sorted(taken, key=lambda name: (-taken[name].version, name))[:ABSORBED_MAX]
    version = 1 if held is None else held.version + 1
    tallies = {name: taken[name] for name in sorted(kept)} | {own: Tally(version, encoded)}
    return Derived(due_ms, tallies)


def trimmed(series: Series, now_ms: int, *, undo_ms: int, window_ms: int) -> Series:
    """Return the series with everything in its total that nothing asks for on its own any more.

    `undo_ms` is how long after it was learned an event may be undone, `window_ms` how long after it
    happened a window looks at it.
    """
    old = [
        mark
        for mark, one in series.counted.items()
        if one.learned_ms <= now_ms - undo_ms and one.time_ms <= now_ms - window_ms
    ]
    if len(series.counted) - len(old) > COUNTED_MAX:
        by_age = sorted((one.time_ms, mark) for mark, one in series.counted.items())
        first = by_age[: len(by_age) - COUNTED_MAX]
        old = list(dict.fromkeys((*old, *(mark for _, mark in first))))
    if not old:
        return series
    over = set(old)
    effects = effects_of({mark: series.counted[mark] for mark in old})
    kept = {mark: one for mark, one in series.counted.items() if mark not in over}
    return Series(kept, _bounded(_sum_of(series.total, total_of(effects))))


def effects_of(counted: Mapping[bytes, Counted]) -> list[Effect]:
    """Return what each event amounts to; those that are gone or have not come are left out."""
    found = []
    for mark, one in counted.items():
        effect = _effect(mark, one) if one.came and not one.gone else None
        if effect is not None:
            found.append(effect)
    return found


def total_of(effects: Iterable[Effect], base: Total | None = None) -> Total:
    """Return what events come to, together with an earlier total."""
    summing = _Summing()
    for effect in effects:
        summing.add(effect)
    total = summing.total()
    return total if base is None else _sum_of(base, total)


class _Summing:
    """A total in the making; whoever has many orders is summed up with each of them."""

    __slots__ = ("events", "newest", "numbers", "oldest", "pieces", "seen", "weights")

    def __init__(self) -> None:
        self.events = 0
        self.pieces = 0
        self.numbers: dict[str, tuple[int, Decimal, Decimal, Decimal]] = {}
        self.newest: dict[str, Ranked] = {}
        self.oldest: dict[str, Ranked] = {}
        self.weights: dict[str, dict[str, int]] = {}
        self.seen: dict[str, dict[str, int]] = {}

    def add(self, effect: Effect) -> None:
        self.events += 1
        self.pieces += effect.pieces
        for name, number in effect.numbers.items():
            held = self.numbers.get(name)
            if held is None:
                self.numbers[name] = (1, number, number, number)
            else:
                count, amount, largest, smallest = held
                bounds = max(largest, number), min(smallest, number)
                self.numbers[name] = (count + 1, added(amount, number), *bounds)
        self._rank(TIME, (effect.time_ms, effect.mark, ""))
        for name, value in effect.told.items():
            self._rank(name, (effect.time_ms, effect.mark, value))
            self._weigh(name, {value: 1}, effect.time_ms)
        for name, values in effect.weights.items():
            self._weigh(name, values, effect.time_ms)

    def _rank(self, name: str, ranked: Ranked) -> None:
        self.newest[name] = max(self.newest.get(name, ranked), ranked)
        self.oldest[name] = min(self.oldest.get(name, ranked), ranked)

    def _weigh(self, name: str, values: Mapping[str, int], time_ms: int) -> None:
        weights, seen = self.weights.setdefault(name, {}), self.seen.setdefault(name, {})
        for value, weight in values.items():
            weights[value] = weights.get(value, 0) + weight
            seen[value] = max(seen.get(value, time_ms), time_ms)

    def total(self) -> Total:
        numbers = {
            name: Numbers(count, *(text_of(amount) for amount in amounts))
            for name, (count, *amounts) in self.numbers.items()
        }
        of_values = (self.newest, self.oldest, self.weights, self.seen)
        return Total(self.events, self.pieces, numbers, *of_values)


def _effect(mark: bytes, one: Counted) -> Effect | None:
    returned: dict[str, int] = {}
    for lines in one.returns.values():
        for sku, quantity in lines:
            returned[sku] = returned.get(sku, 0) + quantity
    kept = [(line, max(0, line.quantity - returned.get(line.sku, 0))) for line in one.lines]
    pieces = sum(quantity for _, quantity in kept)
    if one.lines and not pieces:
        return None
    numbers = {name: Decimal(number) for name, number in one.numbers.items()}
    if returned:
        part, whole = _part_kept(kept)
        numbers = {name: part_of(number, part, whole) for name, number in numbers.items()}
    weights: dict[str, dict[str, int]] = {}
    for line, quantity in kept:
        for name, value in line.told.items() if quantity else ():
            of_field = weights.setdefault(f"{ITEMS}{name}", {})
            of_field[value] = of_field.get(value, 0) + quantity
    return Effect(one.time_ms, mark, pieces, numbers, one.told, weights)


def _part_kept(kept: list[tuple[Line, int]]) -> tuple[Decimal, Decimal]:
    """Return how much of an order was kept, and of how much: by price, else by pieces."""
    prices = [None if line.price is None else Decimal(line.price) for line, _ in kept]
    part = whole = ZERO
    for price, (line, quantity) in zip(prices, kept, strict=True):
        if price is None or price < 0:
            break
        part = added(part, times(price, quantity))
        whole = added(whole, times(price, line.quantity))
    else:
        if whole:
            return part, whole
    pieces = sum(line.quantity for line, _ in kept)
    return Decimal(sum(quantity for _, quantity in kept)), Decimal(pieces)


def _sum_of(one: Total, other: Total) -> Total:
    if not one.events:
        return other
    if not other.events:
        return one
    return Total(
        one.events + other.events,
        one.pieces + other.pieces,
        _joined(one.numbers, other.numbers, _numbers_of),
        _joined(one.newest, other.newest, max),
        _joined(one.oldest, other.oldest, min),
        _joined(one.weights, other.weights, lambda a, b: _joined(a, b, int.__add__)),
        _joined(one.seen, other.seen, lambda a, b: _joined(a, b, max)),
    )


def _numbers_of(one: Numbers, other: Numbers) -> Numbers:
    return Numbers(
        one.count + other.count,
        text_of(added(Decimal(one.sum), Decimal(other.sum))),
        max(one.max, other.max, key=_by_size),
        min(one.min, other.min, key=_by_size),
    )


def _by_size(text: str) -> tuple[Decimal, str]:
    return Decimal(text), text


def _joined(one: Mapping[str, Any], other: Mapping[str, Any], join: Any) -> dict[str, Any]:
    both = {**one, **other}
    for name in one.keys() & other.keys():
        both[name] = join(one[name], other[name])
    return both


def _bounded(total: Total) -> Total:
    """Return the total with the heaviest and the newest values of each field only."""
    if all(len(values) <= VALUES_MAX for values in total.weights.values()):
        return total
    weights, seen = {}, {}
    for name, held in total.weights.items():
        heavy = sorted(held, key=lambda value: (-held[value], value))[:VALUES_MAX]
        weights[name] = {value: held[value] for value in heavy}
    for name, times_ms in total.seen.items():
        late = sorted(times_ms, key=lambda value: (-times_ms[value], value))[:VALUES_MAX]
        seen[name] = {value: times_ms[value] for value in late}
    return Total(
        total.events, total.pieces, total.numbers, total.newest, total.oldest, weights, seen
    )


def _together(one: Content, other: Content) -> Content:
    both = {**one, **other}
    for key in one.keys() & other.keys():
        counted = {**one[key].counted, **other[key].counted}
        for mark in one[key].counted.keys() & other[key].counted.keys():
            counted[mark] = _known_by_both(one[key].counted[mark], other[key].counted[mark])
        both[key] = Series(counted, _bounded(_sum_of(one[key].total, other[key].total)))
    return both


def _known_by_both(one: Counted, other: Counted) -> Counted:
    """Return one event that two ids have counted: what either knows of its undoing holds."""
    first = max(one, other, key=lambda each: (each.came, -each.time_ms, _encode(each)))
    return Counted(
        first.time_ms,
        max(one.learned_ms, other.learned_ms),
        first.came,
        one.gone or other.gone,
        first.numbers,
        first.told,
        first.lines,
        {**one.returns, **other.returns},
    )
