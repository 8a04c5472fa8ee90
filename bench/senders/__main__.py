"""`python -m bench.senders`: the trials of the senders on an embedded Kafka.

Without a name it runs the crash trial and the race; `fanout` and `kill` are the other two.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from bench.senders import crash, race
from bench.senders.channel import Channel
from bench.senders.fanout import fanout
from bench.senders.kill import kill
from orchestrator.broker import EmbeddedBroker

RESULT = Path(__file__).parents[1] / "results" / "senders.md"
HEAD = "# Senders under trial\n\n`python -m bench.senders`; one run, embedded Kafka, loopback.\n"


@click.group(invoke_without_command=True)
@click.option("--commands", default=10_000, show_default=True, help="Commands of the crash trial.")
@click.option("--rounds", default=2, show_default=True, help="Kills at each place.")
@click.option("--customers", default=2_000, show_default=True, help="Customers of the race.")
@click.pass_context
def main(context, commands, rounds, customers):
    """Run crash trial and race and write their tables; exit 1 when a promise was broken."""
    if context.invoked_subcommand is not None:
        return
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
        trial = asyncio.run(_crash(broker.bootstrap_servers, commands, rounds, Path(folder)))
        raced = asyncio.run(_race(broker.bootstrap_servers, customers))
    text = "\n".join((HEAD, *_crash_lines(trial), "", *_race_lines(raced), ""))
    RESULT.write_text(text, encoding="utf-8")
    click.echo(text)
    broken = not trial.holds or raced.ours.get("began after") or raced.ours.get("missing")
    raise SystemExit(1 if broken else 0)


async def _crash(bootstrap_servers, commands, rounds, folder):
    channel = await asyncio.to_thread(Channel(bootstrap_servers, "crash.").create)

    def nth(place, number):
        # Positions are committed once a second; the others are met hundreds of times between.
        return 2 if place == "position_committed" else 40 + 37 * number

    return await crash.run(
        channel, count=commands, places=crash.PLACES * rounds, nth=nth, folder=folder
    )


async def _race(bootstrap_servers, customers):
    channel = await asyncio.to_thread(Channel(bootstrap_servers, "race.").create)
    return await race.run(channel, customers=customers)


def _crash_lines(trial):
    yield "## Killed with -9\n"
    places = ", ".join(f"{place} {count}" for place, count in trial.kills.items())
    yield (
        f"{sum(trial.kills.values())} kills ({places}), {crash.IN_FLIGHT} calls in flight, so at "
        f"most {trial.bound} may be doubled or in doubt; {trial.seconds:.0f} s.\n"
    )
    yield "| delivery | commands | lost | doubled | in doubt, and told | effects with the key |"
    yield "|---|---|---|---|---|---|"
    for mode, one in trial.verdicts.items():
        yield (
            f"| `{mode}` | {one.commands:,} | {one.lost} | {one.doubled} | {one.unknown} "
            f"| {one.effects:,} |"
        )


def _race_lines(raced):
    kinds = ("over before", "overlapping", "began after", "dropped as fenced", "missing")
    yield "## Purchases against promotions on their way\n"
    yield (
        f"{raced.customers:,} promotional commands wait in a sender of {race.IN_FLIGHT} calls of "
        f"{race.CALL_SECONDS * 1000:.0f} ms; {raced.purchases:,} of the customers buy meanwhile. "
        "Of these customers' hand-overs, against the moment at which their fence is visible:\n"
    )
    yield f"| | {' | '.join(kinds)} |"
    yield f"|---|{'---|' * len(kinds)}"
    for name, found in (("ours", raced.ours), ("a loop without fences", raced.naive)):
        yield f"| {name} | {' | '.join(str(found.get(kind, 0)) for kind in kinds)} |"
    yield (
        f"\nOf the {raced.ours.get('overlapping', 0)} overlapping, "
        f"{raced.ours.get('overlapping, called after', 0)} reached the provider after the fence "
        f"was visible, the latest by {raced.latest_ms:.1f} ms: the check had begun before."
    )


main.add_command(fanout)
main.add_command(kill)

if __name__ == "__main__":
    main()
