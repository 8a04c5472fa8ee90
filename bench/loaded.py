"""What loaded journeys cost that an event has nothing to do with: `python -m bench.loaded`.

Five journeys are entered by what happens in the history. Beside them stand as many others as make
10, 100 or 1,000, on other event types: all end on a purchase, none is entered. The same customers
and the same history go through each set, in turn and several times, so that a machine that slows
down slows all of them. Processor time of the thread; the best pass of each counts.

A second table lets all of them wait for the same event type, each with a condition of its own that
is false: that is the part which does grow, because every condition is asked.
"""

from __future__ import annotations

import gc
from typing import Any, Final

import click

from bench.decide import Tally, bytes_to_bytes, pure, records
from bench.portfolio import CHANNELS, customers
from bench.report import RESULTS
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.journey import Journey
from orchestrator.core.language.shop import Shop

LOADED: Final = (10, 100, 1_000)
MATCHING: Final = 5
ROUNDS: Final = 5
GOAL: Final = 1.3
OTHER_TYPES: Final = (
    *("search.done", "store.visited", "ad.clicked", "newsletter.subscribed", "geo.entered"),
    *("price.dropped", "product.back_in_stock", "case.opened", "shop.quiz_answered"),
)
# What the history brings; one journey on each of the first four, and a second one on views.
_ENTRIES: Final[tuple[dict[str, Any], ...]] = (
    {"on": "product.viewed", "when": "has(profile.email)", "about": "event.data"},
    {"on": "product.viewed", "when": 'event.data.category == "tents"', "reentry": "once"},
    {"on": "cart.updated", "key": "event.data.cart_id", "about": "event.data.items"},
    {"on": "cart.abandoned", "key": "event.data.cart_id", "about": "event.data.items"},
    {"on": "purchase", "key": "event.data.order_id"},
)


def loaded(count: int, *, same_type: bool) -> Journeys:
    """Return so many journeys, of which five are entered by the history."""
    matching = [_journey(f"matching_{n}", entry) for n, entry in enumerate(_ENTRIES)]
    others = [
        _journey(f"other_{n}", _other(n, same_type=same_type)) for n in range(count - MATCHING)
    ]
    return Journeys(Shop(), CHANNELS, [*matching, *others])


def _other(number: int, *, same_type: bool) -> dict[str, Any]:
    if same_type:
        return {"on": "product.viewed", "when": f'event.data.campaign == "campaign-{number}"'}
    return {"on": OTHER_TYPES[number % len(OTHER_TYPES)]}


def _journey(name: str, entry: dict[str, Any]) -> Journey:
    bought = "event.data.items.exists(i, i.sku in enrollment.skus)" if "about" in entry else None
    return Journey.model_validate(
        {
            "name": name,
            "version": 1,
            "owner": "crm@example.com",
            "kind": "promotional",
            "stage": "consideration",
            "entry": entry,
            "exits": [{"on": "purchase"} | ({"when": bought} if bought else {})],
            "goal": {"on": "purchase", "within": "7d"},
            "steps": [
                {"id": "first", "wait": "1d"},
                {"id": "letter", "send": {"channel": "email", "template": "letter"}},
            ],
        }
    )


def measure(*, same_type: bool, customer_count: int, events: int) -> dict[int, tuple[Tally, Tally]]:
    """Return, by number of loaded journeys, the best pass of `decide` and of bytes to bytes."""
    sets = {count: loaded(count, same_type=same_type) for count in LOADED}
    # Everybody is in journeys that all sets have, so that the states are the same.
    people = {c.id: encode_customer(c) for c in customers(sets[LOADED[0]], customer_count, 1)}
    history = records(events, customer_count, 2)
    gc.collect()
    gc.freeze()
    best: dict[int, tuple[Tally, Tally]] = {}
    for turn in range(ROUNDS):
        for count in LOADED if turn % 2 == 0 else LOADED[::-1]:
            passed = (
                pure(sets[count], dict(people), history),
                bytes_to_bytes(sets[count], dict(people), history),
            )
            held = best.get(count, passed)
            best[count] = (max(held[0], passed[0], key=_rate), max(held[1], passed[1], key=_rate))
    return best


def _rate(tally: Tally) -> float:
    return tally.per_second


def table(best: dict[int, tuple[Tally, Tally]]) -> list[str]:
    """Return the table: rates, and what an event costs beside the smallest set."""
    base = best[LOADED[0]]
    lines = [
        "| loaded journeys | pure decide | cost | bytes in, bytes out | cost | commands |",
        "|---|---|---|---|---|---|",
    ]
    for count, (decided, whole) in best.items():
        costs = (base[0].per_second / decided.per_second, base[1].per_second / whole.per_second)
        lines.append(
            f"| {count:,} | {decided.per_second:,.0f}/s | {costs[0]:.2f} x | "
            f"{whole.per_second:,.0f}/s | {costs[1]:.2f} x | {whole.commands:,} |"
        )
    return lines


@click.command()
@click.option("--customers", "customer_count", default=20_000, show_default=True)
@click.option("--events", default=30_000, show_default=True)
def main(customer_count: int, events: int) -> None:
    """Measure, print the tables, and write them to results/loaded.md."""
    others = measure(same_type=False, customer_count=customer_count, events=events)
    same = measure(same_type=True, customer_count=customer_count, events=events)
    about = (
        f"{customer_count:,} customers with full dedupe windows and three enrollments each, "
        f"{events:,} events, {MATCHING} journeys that they enter; the best of {ROUNDS} passes each,"
        " in turn. `cost` is the time of an event beside that with 10 journeys "
        f"(goal for 1,000: at most {GOAL} x)."
    )
    further = (
        "The same, when all the others wait for `product.viewed` too (70 % of the events), each "
        "with a condition that is false:"
    )
    page = ["# What loaded journeys cost", "", about, "", *table(others), "", further, ""]
    page += table(same)
    (RESULTS / "loaded.md").write_text("\n".join(page) + "\n", "utf-8")
    click.echo("\n".join(page))


if __name__ == "__main__":
    main()
