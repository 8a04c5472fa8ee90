"""`orchestrator replay`: makes the recorded decisions again and compares them byte for byte.

Reads the journey log of each home partition in its order, with `read_committed`, and beside it the
input records that it names and the commands that it should have made. Deciding and comparing stand
in `simulator/replay`. Only reads: it can run beside the workers.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from aiokafka import TopicPartition

from orchestrator.catalog import load
from orchestrator.catalog.bundle import load_files
from orchestrator.catalog.findings import shortened
from orchestrator.cli.options import with_settings
from orchestrator.clients.definitions import Definitions
from orchestrator.clients.records import install_lenient_records
from orchestrator.clients.security import check_connection, client_options
from orchestrator.demo.stage import Received, consumer, partitions_of, read_to_end
from orchestrator.protocol.causes import MergeCause, SharedCause, StateCause
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import (
    EventCause,
    LogRecord,
    ResumedCause,
    VisitCause,
)
from orchestrator.protocol.topics import Topics
from orchestrator.settings import ConnectionSettings, JourneySettings, Settings, TopicSettings
from orchestrator.simulator.answers import Answers, Ask, Tally, from_the_log
from orchestrator.simulator.facts import Observer
from orchestrator.simulator.replay import (
    RECORDED,
    Mismatch,
    Recorded,
    Replay,
    Rules,
    Step,
    command_place,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from orchestrator.core.journeys import Journeys, Mode
    from orchestrator.protocol.definitions import Bundle


_EPILOG = """\b
Examples:
  orchestrator replay
  orchestrator replay --customer ana
  orchestrator replay --explained

\b
Exit codes: 0 every decision is the same again, 1 something differs or nothing could be compared,
2 wrong usage or settings.
"""
# Records of an input that the log has not named yet: dead letters, and what a damaged log skips.
_PASSED_MAX: Final = 10_000
# The markers of one transaction arrive partition by partition, some milliseconds apart.
_MARKERS_SECONDS: Final = 0.5
_MISMATCHES_SHOWN_MAX: Final = 100
_MARGIN: Final = "    "


class _Input:
    """An input partition, read as far as the log asks for it."""

    def __init__(self, records: AsyncIterator[Received]) -> None:
        self._records = records
        self._passed: OrderedDict[int, Recorded] = OrderedDict()

    async def at(self, offset: int) -> Recorded | None:
        """Return the record at an offset, None when it is not there."""
        while offset not in self._passed and (
            not self._passed or offset > next(reversed(self._passed))
        ):
            received = await anext(self._records, None)
            if received is None:
                return None
            self._passed[received.offset] = _recorded(received)
            if len(self._passed) > _PASSED_MAX:
                self._passed.popitem(last=False)
        return self._passed.get(offset)


@dataclass(slots=True)
class Account:
    """What has been compared, over all partitions."""

    identical: int = 0
    commands: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def holds(self) -> bool:
        """Whether something could be compared, and nothing differs."""
        return bool(self.identical) and not self.mismatches


@click.command(epilog=_EPILOG, short_help="Make recorded decisions again and compare them.")
@with_settings(ConnectionSettings, TopicSettings, JourneySettings)
@click.option("--customer", metavar="ID", help="Only this customer, step by step and with reasons.")
@click.option(
    "--explained",
    is_flag=True,
    help="Decide from what `explain` answers; count for what it has an answer.",
)
def replay(settings: Settings, *, customer: str | None, explained: bool) -> int:
    """Make every recorded decision again, with its recorded time and order, and compare.

    The journey log and the commands have to be the same, byte for byte. With --explained the
    answers of `orchestrator explain` take the place of the journey log: every command on the topics
    and every refusal must have one, and what it tells must be all that it takes to decide again.
    """
    account = asyncio.run(made_again(settings, customer, ask=from_the_log if explained else None))
    for line in account.story:
        click.echo(line)
    for line in differences(account):
        click.echo(line)
    click.echo(_summary(account))
    if explained:
        click.echo(account.tally.sentence())
    return 0 if account.holds else 1


def differences(account: Account) -> Iterable[str]:
    """Return the lines that tell what differs, as far as anybody will read."""
    for mismatch in account.mismatches[:_MISMATCHES_SHOWN_MAX]:
        yield from _told(mismatch)
    if (more := len(account.mismatches) - _MISMATCHES_SHOWN_MAX) > 0:
        yield f"and {more} more"


async def made_again(
    settings: Settings, customer: str | None = None, *, ask: Ask | None = None
) -> Account:
    """Make the decisions of a deployment again, of one customer or of all.

    With `ask`, from what `explain` answers, which `ask` returns as JSON for a customer.
    """
    install_lenient_records()
    folder = load(settings.journeys, settings.mode)
    await check_connection(settings)
    options = client_options(settings)
    library = await _library(settings, options, folder)
    channels = {name: one for known in library.all() for name, one in known.channels.items()}
    topics = Topics.of(settings, channels)
    names = topics.names()
    wanted = (*names.inputs, *names.command_partitions, names.journey_log)
    partitions = await partitions_of(options, wanted)
    counts = Counter(partition.topic for partition in partitions)
    names = topics.names(counts)
    settled, trimmed = await _bounds(options, partitions)
    await asyncio.sleep(_MARKERS_SECONDS)
    rules = Rules(library.find, names, settings.event_bytes_max, trimmed)
    deployment = _Deployment(options, rules, settled, customer, ask=ask)
    homes: Iterable[int] = range(names.partitions)
    if customer is not None:
        homes = (home_partition(customer.encode(), names.partitions),)
    for home in homes:
        await deployment.replay(home)
    return deployment.account


class _Library:
    """The journeys of a folder, and everything that was ever published, by content hash."""

    def __init__(self, folder: Journeys, bundles: Mapping[str, Bundle], mode: Mode) -> None:
        self._known: dict[str, Journeys | None] = {folder.content_hash: folder}
        self._bundles = bundles
        self._mode = mode

    def find(self, content_hash: str) -> Journeys | None:
        """Return the journeys of a hash. Raises JourneyError when they do not read any more."""
        if content_hash not in self._known:
            bundle = self._bundles.get(content_hash)
            journeys = None if bundle is None else load_files(bundle.files, self._mode)
            self._known[content_hash] = journeys
        return self._known[content_hash]

    def all(self) -> list[Journeys]:
        """Return all that there are."""
        for content_hash in self._bundles:
            self.find(content_hash)
        return [journeys for journeys in self._known.values() if journeys is not None]


async def _library(settings: Settings, options: dict[str, Any], folder: Journeys) -> _Library:
    definitions = Definitions(options, Topics.of(settings, {}).definitions)
    try:
        published = await definitions.read()
    finally:
        await definitions.stop()
    return _Library(folder, published.bundles, settings.mode)


async def _bounds(
    options: dict[str, Any], partitions: list[TopicPartition]
) -> tuple[dict[tuple[str, int], int], frozenset[tuple[str, int]]]:
    """Return what is settled on each partition now, and which have lost their oldest records."""
    client = consumer(options)
    await client.start()
    try:
        ends = await client.end_offsets(partitions)
        begins = await client.beginning_offsets(partitions)
    finally:
        await client.stop()
    settled = {(tp.topic, tp.partition): end for tp, end in ends.items()}
    return settled, frozenset((tp.topic, tp.partition) for tp, at in begins.items() if at > 0)


class _Deployment:
    """The topics of one deployment, and what has been compared so far."""

    def __init__(
        self,
        options: dict[str, Any],
        rules: Rules,
        settled: dict[tuple[str, int], int],
        customer: str | None,
        *,
        ask: Ask | None,
    ) -> None:
        self.account = Account()
        self._ask = ask
        self._options = options
        self._rules = rules
        self._settled = settled
        self._customer = customer
        self._key = None if customer is None else customer.encode()

    async def replay(self, home: int) -> None:
        """Make the decisions of one home partition again."""
        log_partition = TopicPartition(self._rules.names.journey_log, home)
        log = [
            _recorded(received)
            async for received in read_to_end(self._options, {log_partition: None})
            if self._key in (None, received.key)
        ]
        if log:
            await asyncio.sleep(_MARKERS_SECONDS)
        merged = any(b'"kind":"absorbed"' in (record.value or b"") for record in log)
        commands = await self._commands(home, everywhere=merged)
        account = self.account
        account.commands += sum(len(found) for found in commands.values())
        made = Replay(self._rules, home, commands)
        inputs: dict[TopicPartition, _Input] = {}
        answers = None if self._ask is None else Answers(log, commands, self._ask)
        observer = Observer()
        for record in log:
            told = record if answers is None else answers.account(record)
            step = made.redo(told, await self._cause(record, inputs))
            account.mismatches += step.mismatches
            if answers is not None:
                account.mismatches += answers.judge(record, told, step)
            if self._customer is not None:
                account.story += _story(record, step, observer)
        account.mismatches += made.leftover(self._settled)
        if answers is not None:
            unanswered = answers.leftover(self._settled)
            if (log_partition.topic, home) not in self._rules.trimmed:
                account.mismatches += unanswered
            account.tally += answers.tally
        account.identical += made.identical
        account.skipped += made.skipped

    async def _commands(
        self, home: int, *, everywhere: bool
    ) -> dict[tuple[str, str], list[Recorded]]:
        """Read the commands of the customers who are at home on a partition.

        What takes back a message of an absorbed id stands where that id was at home.
        """
        names = self._rules.names
        begins: dict[TopicPartition, int | None] = {}
        for topic, count in names.command_partitions.items():
            every = range(count) if everywhere or count != names.partitions else (home,)
            begins |= {TopicPartition(topic, partition): None for partition in every}
        found: dict[tuple[str, str], list[Recorded]] = {}
        async for received in read_to_end(self._options, begins):
            key = received.key or b""
            if self._key in (None, key) and home_partition(key, names.partitions) == home:
                record = _recorded(received)
                found.setdefault(command_place(record), []).append(record)
        return found

    async def _cause(self, log: Recorded, inputs: dict[TopicPartition, _Input]) -> Recorded | None:
        """Return the record that a log record names as its cause, if any and if it is there."""
        names = self._rules.names
        try:
            named = msgspec.json.decode(log.value or b"", type=LogRecord).cause
        except msgspec.DecodeError:
            return None
        if not isinstance(named, RECORDED):
            return None
        if not 0 <= named.partition < names.inputs.get(named.topic, 0):
            return None
        place = TopicPartition(named.topic, named.partition)
        if place not in inputs:
            inputs[place] = _Input(read_to_end(self._options, {place: None}))
        return await inputs[place].at(named.offset)


def _recorded(received: Received) -> Recorded:
    return Recorded(
        received.topic,
        received.partition,
        received.offset,
        received.key,
        received.value,
        received.headers,
        received.timestamp_ms,
    )


def _story(log: Recorded, step: Step, observer: Observer) -> list[str]:
    """Tell one decision: when, what came, what it did, and whether it is the same again."""
    record = step.record
    if record is None:
        return [f"{log.place}  cannot be read"]
    named = record.cause
    cause = "a wait came due"
    if isinstance(named, EventCause):
        cause = f"{named.type} {named.id}"
    elif isinstance(named, VisitCause):
        cause = f"the time of {named.journey} had come"
    elif isinstance(named, ResumedCause):
        cause = "what is paused had changed"
    elif isinstance(named, MergeCause):
        cause = f"{named.survivor} is this customer too"
    elif isinstance(named, StateCause):
        cause = f"{named.absorbed} is this customer too"
    elif isinstance(named, SharedCause):
        cause = f"others have the same {named.by}"
    where = f"{step.cause.place} → {log.place}" if step.cause is not None else log.place
    if step.decision is None:
        return [f"{record.now}  {cause}  ({where}; not made again)"]
    same = "same again" if not step.mismatches else "DIFFERS"
    lines = [f"{record.now}  {cause}  ({where}; {same})"]
    facts = list(observer.facts(step.decision))
    lines += [_MARGIN + fact.sentence() for fact in facts]
    return lines if facts else [*lines, f"{_MARGIN}· noted; no journey asked for it"]


def _told(mismatch: Mismatch) -> list[str]:
    lines = [f"{mismatch.place}: {mismatch.what}"]
    if mismatch.recorded or mismatch.recomputed:
        recorded, recomputed = _apart(mismatch.recorded, mismatch.recomputed)
        lines += [f"{_MARGIN}recorded    {recorded}", f"{_MARGIN}recomputed  {recomputed}"]
    return lines


def _apart(first: str, second: str) -> tuple[str, str]:
    """Show two long texts from shortly before the place where they begin to differ."""
    same = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    begin = max(0, same - 20)
    dots = "…" if begin else ""
    return dots + shortened(first[begin:]), dots + shortened(second[begin:])


def _summary(account: Account) -> str:
    parts = [
        f"{account.identical} decisions are the same again",
        f"{account.commands} commands compared",
        f"{len(account.mismatches)} differences",
    ]
    parts += [f"{count} not made again: {reason}" for reason, count in account.skipped.items()]
    return "; ".join(parts)
