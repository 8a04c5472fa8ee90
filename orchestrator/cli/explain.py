"""`orchestrator explain CUSTOMER`: what was sent and not sent, and why, from the journey log alone.

Only the customer's home partition is read, with `read_committed`, to its present end. When nothing
is known of the id, the newest records of the other partitions are asked for a similar one.
"""

from __future__ import annotations

import asyncio
import difflib
from collections import deque
from typing import TYPE_CHECKING, Final

import click
import orjson
from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from orchestrator.cli.options import check_customer, with_settings
from orchestrator.clients.security import check_connection, client_options
from orchestrator.demo.stage import partitions_of, read_to_end
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.topics import Topics
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings
from orchestrator.timeline.explanation import (
    Explanation,
    Mark,
    Message,
    Moment,
    as_json,
)
from orchestrator.timeline.explanation import (
    explain as tell,
)
from orchestrator.timeline.record import LogRecord, read_record
from orchestrator.timeline.sentences import channel_noun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

_EPILOG = """\b
Examples:
  orchestrator explain ana
  orchestrator explain ana --json | jq '.messages[] | select(.fate != "sent")'

\b
Exit codes: 0 the customer is known, 1 nothing is known of this id, 2 wrong usage or settings.
"""
# How far back the other partitions are asked for a similar id: it is a hint, not an answer.
_HINT_RECORDS: Final = 2_000
_SIGNS: Final = {
    Mark.SENT: ("✉", "green"),
    Mark.NOT_SENT: ("✗", "red"),
    Mark.ENTERED: ("→", "cyan"),
    Mark.ENDED: ("■", "yellow"),
    Mark.MOVED: ("…", "dim"),
    Mark.REFUSED: ("✗", "red"),
    Mark.FINAL: ("✓", "green"),
    Mark.NOTHING: ("·", "dim"),
}


@click.command(epilog=_EPILOG, short_help="Say what a customer got or not, and why.")
@with_settings(ConnectionSettings, TopicSettings)
@click.argument("customer")
@click.option("--json", "as_machine", is_flag=True, help="One JSON document for machines.")
def explain(settings: Settings, *, customer: str, as_machine: bool) -> int:
    """Say what was sent to CUSTOMER and what was not, and why."""
    check_customer(customer)
    explanation, similar = asyncio.run(_ask(settings, customer))
    if as_machine:
        click.echo(orjson.dumps(as_json(explanation), option=orjson.OPT_INDENT_2))
    if explanation.moments:
        if not as_machine:
            Console(highlight=False).print(render(explanation))
        return 0
    hint = f" Did you mean {', '.join(similar)}?" if similar else ""
    click.echo(f"The journey log knows nothing of {customer!r}.{hint}", err=True)
    return 1


async def _ask(settings: Settings, customer: str) -> tuple[Explanation, list[str]]:
    await check_connection(settings)
    options = client_options(settings)
    topic = Topics.of(settings, {}).journey_log
    partitions = await partitions_of(options, [topic])
    home = partitions[home_partition(customer.encode(), len(partitions))]
    key = customer.encode()
    records: list[LogRecord] = []
    async for received in read_to_end(options, {home: None}):
        record = read_record(received.value or b"") if received.key == key else None
        if record is not None:
            records.append(record)
    explanation = tell(customer, records)
    if explanation.moments:
        return explanation, []
    newest = dict.fromkeys(partitions, -_HINT_RECORDS)
    known = {received.key async for received in read_to_end(options, newest) if received.key}
    return explanation, similar_ids(customer, (one.decode(errors="replace") for one in known))


def similar_ids(customer: str, known: Iterable[str]) -> list[str]:
    """Return the known ids that come nearest, at most three."""
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(customer.casefold(), folded, n=3, cutoff=0.6)
    return [folded[one] for one in near]


def render(explanation: Explanation) -> Group:
    """Return the explanation for a person at a terminal."""
    parts: list[Text | Table | Padding] = [
        Text(f"{explanation.customer}: {_first_and_last(explanation)}", style="bold")
    ]
    for moment in explanation.moments:
        parts += [Text(""), *_moment(moment)]
    recalled = explanation.not_sent
    if recalled or explanation.refused:
        parts += [Text(""), Text("Not sent, and why", style="bold underline")]
        parts += [_not_sent(message) for message in recalled]
        counted: deque[Padding] = deque()
        for refused in explanation.refused:
            line = Text.assemble(("✗ ", "red"), f"{refused.what}: {refused.because}")
            counted.append(Padding(line, (0, 0, 0, 2)))
        parts += counted
    if explanation.unknown_entries:
        parts.append(
            Text(
                f"{explanation.unknown_entries} entries were written by a newer release and are "
                "not shown.",
                style="dim",
            )
        )
    return Group(*parts)


def _first_and_last(explanation: Explanation) -> str:
    moments = explanation.moments
    sent = len(explanation.messages) - len(explanation.not_sent)
    decisions = "1 decision" if len(moments) == 1 else f"{len(moments)} decisions"
    return (
        f"{decisions}, {moments[0].at:%Y-%m-%d %H:%M:%S} to {moments[-1].at:%Y-%m-%d %H:%M:%S} "
        f"UTC; {sent} sent, {len(explanation.not_sent)} recalled, "
        f"{len(explanation.refused)} refused"
    )


def _moment(moment: Moment) -> list[Text | Padding]:
    stamp = f"{moment.at:%H:%M:%S}.{moment.at.microsecond // 1000:03d}"
    lines: list[Text | Padding] = [
        Text.assemble((stamp, "dim"), "  ", (moment.cause.sentence(), "bold"))
    ]
    for fact in moment.facts:
        sign, style = _SIGNS[fact.mark]
        lines.append(Padding(Text.assemble((f"{sign} ", style), fact.text), (0, 0, 0, 14)))
    return lines


def _not_sent(message: Message) -> Padding:
    what = f"{channel_noun(message.channel)} “{message.step}” of {message.journey}"
    line = Text.assemble(("✗ ", "red"), f"{what}: {message.because or message.fate}")
    return Padding(line, (0, 0, 0, 2))
