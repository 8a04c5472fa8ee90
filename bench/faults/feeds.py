"""Rows about what producers send: repeats, poison, records of any size, one customer for all."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.history import home_of
from bench.crash.plan import STRUCTURED, Planned, rfc3339
from bench.faults.case import Row, percentile
from bench.faults.scene import LONELY, PARTITIONS, Scene
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.crash.judge.history import History, Place, Record
    from bench.crash.judge.records import Violation
    from bench.faults.case import Case

POISONED: Final = 40
"""Records of each kind of poison."""
EVENT_BYTES_MAX: Final = 1_000_000
STATE_BYTES_MAX: Final = 10_000
GROWING: Final = "grower"
HOT: Final = "hot"
HOT_RATE: Final = 60
LOOKS: Final = 2_700
OTHERS_P99_MS_MAX: Final = 2_000.0
STILL_MS: Final = 5_000.0
"""On a machine that others use too."""


def _event(
    customer: str, event_id: str, kind: str = "store.visited", /, **data: Any
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/feed",
        "type": kind,
        "subject": customer,
        "time": rfc3339(time.time_ns() // 1_000_000),
        "data": data,
    }


def _planned(at_ms: int, customer: str, value: bytes | None, key: bytes | None = b"") -> Planned:
    """Return a record at the customer's home; without a key of its own it has the customer's."""
    home = home_of(customer, PARTITIONS)
    own = customer.encode() if key == b"" else key
    return Planned(at_ms, "feed", "touchpoints", home, own, value)


def _run(case: Case, told: Callable[[list[Planned]], list[Planned]], /, **options: Any) -> Scene:
    """Play a changed story to its end; the scene that is returned is over, and not judged."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers, **options.pop("scene", {})) as scene,
    ):
        scene.create_topics()
        scene.start_workers()
        scene.start_load(change=told)
        scene.settle()
        scene.judge(**options)
    return scene


# -- Repeats ----------------------------------------------------------------------------------


def repeats(case: Case) -> None:
    """Send the whole topic again while it is still told, and much of it twice at once."""

    def twice(plan: list[Planned]) -> list[Planned]:
        again = [
            replace(one, at_ms=one.at_ms + delay_ms, kind="repeat", lane="plain")
            for number, one in enumerate(plan)
            for delay_ms in ((0, 9_000) if number % 3 == 0 else (9_000,))
        ]
        return sorted([*plan, *again], key=lambda one: one.at_ms)

    scene = _run(case, twice)
    assert scene.history is not None
    outcomes = Counter(
        json.loads(record.value or b"{}")["outcome"]
        for record in scene.history.of(scene.names.journey_log)
    )
    duplicates = outcomes["duplicate"]
    case.demand("most repeats were known again", holds=duplicates > 1_500)
    case.saw(
        f"everything told once more after 9 s, a third of it thrice: {duplicates:,} duplicates "
        f"without effect, {outcomes['applied']:,} applied"
    )


# -- Poison -----------------------------------------------------------------------------------


def poisons() -> dict[str, bytes | None]:
    """Return one record of each kind that nobody can apply, or that is odd and harmless."""
    event = json.dumps(_event("poisoned", "ID", "product.viewed", sku="s")).encode()
    data = b'"data": {"sku": "s"}'
    return {
        "tombstone": None,
        "0 bytes": b"",
        "half of it": event[: len(event) // 2],
        "NaN": event.replace(data, b'"data": {"sku": NaN}'),
        "Infinity": event.replace(data, b'"data": {"sku": -Infinity}'),
        "a million deep": event.replace(
            data, b'"data": {"sku": ' + b"[" * 490_000 + b"]" * 490_000 + b"}"
        ),
        "65 deep": event.replace(
            data, b'"data": {"sku": "s", "x": ' + b"[" * 65 + b"]" * 65 + b"}"
        ),
        "lone surrogate": event.replace(b'"sku": "s"', rb'"sku": "\ud800"'),
        "not UTF-8": event.replace(b'"sku": "s"', b'"sku": "\xff\xfe"'),
        "wrong types": json.dumps(_event("poisoned", "ID") | {"data": [1], "time": 3}).encode(),
        "no time": json.dumps(_event("poisoned", "ID") | {"time": "soon"}).encode(),
        "no data": json.dumps(_event("poisoned", "ID", "purchase")).encode(),
        "other subject": event.replace(b'"poisoned"', b'"somebody else"'),
        "unknown type": json.dumps(_event("poisoned", "ID", "no.such.type", a=1)).encode(),
        "huge number": event.replace(b'"sku": "s"', b'"sku": "s", "n": ' + b"9" * 5_000),
    }


HARMLESS: Final = frozenset({"unknown type"})
"""What is applied to the timeline and triggers nothing."""


def poison(case: Case) -> None:
    """Mix every kind of poison into the load; each is a dead letter once, whole and with reason."""
    sent: dict[bytes, str] = {}

    def poisoned(plan: list[Planned]) -> list[Planned]:
        more = []
        for kind, value in poisons().items():
            count = POISONED if value is None or len(value) < 100_000 else 3
            for number in range(count):
                mark = f"{kind}-{number}".encode()
                own = None if value is None else value.replace(b'"ID"', b'"' + mark + b'"')
                planned = _planned(1_000 + 700 * number, "poisoned", own)
                more.append(replace(planned, headers=(*STRUCTURED, ("mark", mark))))
                sent[mark] = kind
        return sorted([*plan, *more], key=lambda one: one.at_ms)

    marked: dict[Place, Record] = {}
    letters: dict[Place, list[Record]] = defaultdict(list)

    def take_out(history: History) -> History:
        """Keep the poison for this row's own judge: the other one reads JSON in another way."""
        names = history.names
        for records in history.topics[names.input_topics[0]].values():
            poison = [
                one for one in records if sent.get(_mark(one) or b"", "") not in {"", *HARMLESS}
            ]
            marked.update((one.place, one) for one in poison)
            records[:] = [one for one in records if one.place not in marked]
        for records in history.topics[names.dead_letters].values():
            for letter in records:
                letters[_origin(letter)].append(letter)
            records[:] = [one for one in records if _origin(one) not in marked]
        return history

    scene = _run(case, poisoned, change=take_out, excused=lambda one: one.place in marked)
    harmful = [mark for mark, kind in sent.items() if kind not in HARMLESS]
    case.demand("all poison is on the topic", holds=len(marked) == len(harmful))
    told = {place: sent[_mark(one) or b""] for place, one in marked.items()}
    _judge_poison(scene, marked, letters, told)


def _origin(letter: Record) -> Place:
    """Return where a dead letter says that its record was."""
    topic, partition, offset = (
        letter.header(f"dl_{name}") for name in ("topic", "partition", "offset")
    )
    return topic or "", int(partition or -1), int(offset or -1)


def _mark(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == "mark"), None)


def _judge_poison(
    scene: Scene,
    marked: Mapping[Place, Record],
    letters: Mapping[Place, list[Record]],
    kinds: Mapping[Place, str],
) -> None:
    case = scene.case
    reasons: dict[str, set[str]] = defaultdict(set)
    for place, record in marked.items():
        kind, found = kinds[place], letters.get(place, [])
        if len(found) != 1:
            case.found(f"{kind}: {len(found)} dead letters", place)
        for letter in found:
            reasons[letter.header("dl_reason") or "none"].add(kind)
            whole = (letter.key, letter.value, _mark(letter))
            if whole != (record.key, record.value, _mark(record)):
                case.found(f"{kind}: key, value or headers are not as they came", place)
    case.demand("every one has a reason", holds="none" not in reasons)
    p99 = case.figures["event_to_decision_ms"]["p99"]
    case.demand(f"no partition stands still: p99 {p99:.0f} ms", holds=p99 < STILL_MS)
    case.demand("no worker ended", holds=not scene.ended_in_load)
    told = "; ".join(f"`{one}`: {', '.join(sorted(reasons[one]))}" for one in sorted(reasons))
    case.saw(f"{len(marked)} records of {len(set(kinds.values()))} kinds, each once: {told}")


# -- Sizes ------------------------------------------------------------------------------------


def sizes(case: Case) -> None:
    """Send events of the largest size, a byte less and one more; let one customer's state grow."""

    def sized(plan: list[Planned]) -> list[Planned]:
        more = []
        for number, size in enumerate((-1, 0, 1) * 4):
            customer = f"large-{number}"
            event = _event(customer, f"large-{number}", note="")
            event["data"]["note"] = "x" * (EVENT_BYTES_MAX + size - len(json.dumps(event)))
            more.append(_planned(1_000 + 900 * number, customer, json.dumps(event).encode()))
        for number in range(700):
            # Each cart is an enrollment of its own.
            items = [{"sku": f"sku-{number}", "quantity": 1, "price": "1.00"}]
            cart = {"cart_id": f"cart-{GROWING}-{number}", "items": items}
            event = _event(GROWING, f"grow-{number}", "cart.abandoned", **cart)
            more.append(_planned(1_000 + 20 * number, GROWING, json.dumps(event).encode()))
        return sorted([*plan, *more], key=lambda one: one.at_ms)

    def too_large(violation: Violation) -> bool:
        return "dead letter state_too_large" in violation.what

    settings = {"ORCHESTRATOR_STATE_BYTES_MAX": str(STATE_BYTES_MAX)}
    scene = _run(case, sized, scene={"settings": settings}, excused=too_large)
    assert scene.history is not None
    names = scene.names
    reasons = Counter(
        record.header("dl_reason")
        for record in scene.history.of(names.dead_letters)
        if (record.key or b"").startswith((b"large-", GROWING.encode()))
    )
    changelog = list(scene.history.of(names.changelog))
    largest = max(len(record.value or b"") for record in changelog)
    case.demand("one byte too many is a dead letter, four times", holds=reasons["too_large"] == 4)
    case.demand("the growing state is stopped", holds=reasons["state_too_large"] > 0)
    # No event goes over the bound; waits of those who are inside already are not refused.
    case.demand(f"the state stays bounded: {largest}", holds=largest <= 2 * STATE_BYTES_MAX)
    case.demand("no worker ended", holds=not scene.ended_in_load)
    case.saw(
        f"of 12 events of {EVENT_BYTES_MAX:,} bytes and one less or more, the 4 with one more are "
        f"dead letters; {reasons['state_too_large']} of 700 carts of one customer are, at "
        f"{STATE_BYTES_MAX:,} bytes of state; the waits of the others took it to {largest:,}"
    )


# -- One for all ------------------------------------------------------------------------------


def hot_key(case: Case) -> None:
    """Let one customer make half of the traffic."""

    def heated(plan: list[Planned]) -> list[Planned]:
        looks = []
        for number in range(LOOKS):
            event = _event(HOT, f"hot-{number}", "product.viewed", sku=f"sku-{number % 50}")
            looks.append(_planned(number * 1_000 // HOT_RATE, HOT, json.dumps(event).encode()))
        return sorted([*plan, *looks], key=lambda one: one.at_ms)

    scene = _run(case, heated)
    others = sorted(scene.decided_after_ms(lambda customer: customer != HOT))
    hot = sorted(scene.decided_after_ms(lambda customer: customer == HOT))
    p99, own = percentile(others, 0.99), percentile(hot, 0.99)
    case.demand(f"the others' p99 is bounded: {p99:.0f} ms", holds=p99 < OTHERS_P99_MS_MAX)
    case.saw(
        f"{len(hot):,} of {len(hot) + len(others):,} decisions are one customer's: event to "
        f"decision p99 {own:.0f} ms for that one, {p99:.0f} ms for the others"
    )


ROWS: Final = (
    Row(
        13,
        "repeats, late and reordered events, reused ids",
        "the whole topic told again after 9 s, a third of it at once as well",
        "no effect twice; an id with another body is a dead letter",
        repeats,
    ),
    Row(
        14,
        "poison",
        "15 kinds among the load: NaN, a million levels, surrogates, huge numbers, tombstones, ...",
        "a dead letter each, once, with its reason, bytes and headers; no partition stands still",
        poison,
    ),
    Row(
        15,
        "oversize events, growing state",
        "1,000,000 bytes and one less or more; 700 carts of one customer, state bound 10,000 bytes",
        "dead letters; no event takes the state over its bound; nobody else is concerned",
        sizes,
    ),
    Row(
        18,
        "hot key",
        "half of the traffic by one customer",
        "the others' p99 below 2 s",
        hot_key,
    ),
)
