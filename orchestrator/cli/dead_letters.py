"""`orchestrator dead-letters`: look at records that could not be applied, and put them back.

Reads the dead-letter topic to its end, without a consumer group. A replayed record goes to the
input topic it came from, with its own key, value and headers; a notice between owners goes to the
forward topic. Replaying one twice does no harm: an event is known by its source and id.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click
import orjson
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRecord,
    TopicPartition,
    errors,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from orchestrator.catalog.bundle import load_files
from orchestrator.cli.options import with_settings
from orchestrator.clients.definitions import Definitions
from orchestrator.clients.records import install_lenient_records
from orchestrator.clients.security import check_connection, client_options
from orchestrator.errors import DependencyError, UsageError
from orchestrator.protocol.codec import REASONS
from orchestrator.protocol.forward.notices import is_notice
from orchestrator.protocol.outputs import rfc3339
from orchestrator.protocol.topics import Topics
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings

_PREFIX: Final = "dl_"
_FETCH_MS: Final = 500
# The end of a log with an open transaction is not readable yet; what was there is shown by then.
_SILENCE_SECONDS: Final = 5.0
# Acknowledgements are awaited in portions, so that a replay of any length needs little memory.
_UNACKNOWLEDGED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic, with what its `dl_*` headers say."""

    partition: int
    offset: int
    stamped_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    why: dict[str, str]

    @property
    def origin(self) -> str:
        """Where it stood: topic, partition and offset."""
        return "/".join(self.why.get(name, "?") for name in ("topic", "partition", "offset"))


Wanted = Callable[[DeadLetter], bool]


@click.group(
    epilog="Example: orchestrator dead-letters list --reason schema --since 24h",
    short_help="List records that could not be applied, or put them back.",
)
def dead_letters() -> None:
    """Look at records that could not be applied, and put them back.

    A dead letter is a record as it came, with the reason in its headers. Fix the producer or the
    journeys, then replay.
    """


def _filters(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that choose dead letters, as one function `wanted`."""

    @functools.wraps(verb)
    def filtered(*, reasons: Sequence[str], since: str | None, **arguments: Any) -> Any:
        return verb(wanted=_wanted(reasons, since), **arguments)

    chosen: Callable[..., Any] = filtered
    for option in (
        click.option(
            "--since",
            metavar="TIME",
            help='Only those not older: "2026-11-22T10:00:00Z", or an age such as 90m, 12h, 7d.',
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            type=click.Choice(REASONS),
            help="Only this reason; may be given several times.",
        ),
    ):
        chosen = option(chosen)
    return chosen


@dead_letters.command(
    "list", epilog="Example: orchestrator dead-letters list --reason schema --since 24h --limit 20"
)
@with_settings(ConnectionSettings, TopicSettings)
@_filters
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    help="The newest so many.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--values", is_flag=True, help="Also keys, headers and values: personal data.")
def list_letters(
    settings: Settings, *, wanted: Wanted, limit: int, as_json: bool, values: bool
) -> None:
    """Show the newest dead letters and why they are there."""
    newest, counts = asyncio.run(_newest(settings, wanted, limit))
    for letter in newest:
        click.echo(_as_json(letter, values=values) if as_json else _as_text(letter, values=values))
    if not as_json:
        click.echo(f"{len(newest)} shown of {_told(counts)}")


@dead_letters.command(
    epilog="Example: orchestrator dead-letters replay --reason schema --since 24h --yes"
)
@with_settings(ConnectionSettings, TopicSettings)
@_filters
@click.option(
    "--to", "target", metavar="TOPIC", help="An input topic; without it, the one it came from."
)
@click.option("--yes", is_flag=True, help="Write; without it, only say what would be written.")
def replay(settings: Settings, *, wanted: Wanted, target: str | None, yes: bool) -> int:
    """Put dead letters back to the input topic, with their own key, value and headers.

    Nothing is written without --yes. A record that was put back before is applied once.
    """
    replayed, strangers = asyncio.run(_replay(settings, wanted, target, write=yes))
    click.echo(f"{'put back' if yes else 'would put back'}: {_told(replayed)}")
    for topic, count in strangers.items():
        click.echo(f"left: {count} from {_printable(topic)}, which is no input topic; see --to")
    if not yes and replayed:
        click.echo("Nothing was written. Repeat with --yes.")
    return 1 if strangers else 0


def _wanted(reasons: Sequence[str], since: str | None) -> Wanted:
    since_ms = 0 if since is None else _since_ms(since)
    return lambda letter: (
        letter.stamped_ms >= since_ms and (not reasons or letter.why.get("reason") in reasons)
    )


def _since_ms(since: str) -> int:
    """Read a moment, or an age before now."""
    seconds = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}.get(since[-1:])
    if seconds and since[:-1].isascii() and since[:-1].isdigit() and len(since) < 10:
        return int((time.time() - int(since[:-1]) * seconds) * 1000)
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise UsageError(
            f"--since: {since!r} is not a time; allowed: 2026-11-22T10:00:00Z or 90m, 12h, 7d"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


async def _newest(
    settings: Settings, wanted: Wanted, limit: int
) -> tuple[list[DeadLetter], Counter[str]]:
    """Return the newest that are wanted, oldest first, and how many there are by reason."""
    newest: dict[int, deque[DeadLetter]] = {}
    counts: Counter[str] = Counter()
    async for letter in _letters(settings):
        if wanted(letter):
            counts[_reason(letter)] += 1
            newest.setdefault(letter.partition, deque(maxlen=limit)).append(letter)
    together = [letter for letters in newest.values() for letter in letters]
    together.sort(key=lambda letter: (letter.stamped_ms, letter.partition, letter.offset))
    return together[-limit:], counts


async def _replay(
    settings: Settings, wanted: Wanted, target: str | None, *, write: bool
) -> tuple[Counter[str], Counter[str]]:
    """Return what was put back by reason, and by topic what was left."""
    forward = Topics.of(settings, {}).forward
    inputs = await _input_topics(settings)
    if target is not None and target not in inputs:
        raise UsageError(
            f"--to: {target!r} is not an input topic; allowed: {', '.join(inputs)} (input_topics)"
        )
    replayed: Counter[str] = Counter()
    strangers: Counter[str] = Counter()
    async with _producer(settings if write else None) as send:
        async for letter in _letters(settings):
            if not wanted(letter):
                continue
            came_from = letter.why.get("topic", "")
            # What owners tell each other only makes sense where it stood.
            told = came_from == forward and is_notice(letter.headers)
            topic = came_from if told else target or came_from
            if topic not in inputs and not told:
                strangers[topic] += 1
                continue
            await send(topic, letter)
            replayed[_reason(letter)] += 1
    return replayed, strangers


async def _input_topics(settings: Settings) -> tuple[str, ...]:
    """Return the topics that are read: those of the settings, and of the published inputs."""
    topics = Topics.of(settings, {})
    await check_connection(settings)
    try:
        await _partitions(settings, topics.definitions)
    except DependencyError:  # Nothing was ever published here.
        return topics.inputs
    definitions = Definitions(client_options(settings), topics.definitions)
    try:
        running = (await definitions.read()).running
    finally:
        await definitions.stop()
    if running is None:
        return topics.inputs
    return Topics.of(settings, {}, load_files(running.files, settings.mode).inputs).inputs


@asynccontextmanager
async def _producer(settings: Settings | None) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that puts a letter back, and return when all are acknowledged."""

    async def nothing(_topic: str, _letter: DeadLetter) -> None:
        """Stand in for a dry run."""

    if settings is None:
        yield nothing
        return
    producer = AIOKafkaProducer(
        **client_options(settings),
        enable_idempotence=True,
        # It was accepted once; a dead letter is at most as large as its topic allows.
        max_request_size=16 * 1024 * 1024,
    )
    pending: list[asyncio.Future[Any]] = []

    async def put_back(topic: str, letter: DeadLetter) -> None:
        own = [header for header in letter.headers if not header[0].startswith(_PREFIX)]
        # The time of the letter is nearer to the event than now, for events without a time.
        pending.append(
            await producer.send(
                topic,
                key=letter.key,
                value=letter.value,
                headers=own,
                timestamp_ms=letter.stamped_ms,
            )
        )
        if len(pending) >= _UNACKNOWLEDGED_MAX:
            await asyncio.gather(*pending)
            pending.clear()

    try:
        await producer.start()
        yield put_back
        await asyncio.gather(*pending)
    except KafkaError as error:
        raise DependencyError(f"the broker refused a record: {error}") from error
    finally:
        await producer.stop()


async def _letters(settings: Settings) -> AsyncIterator[DeadLetter]:
    """Yield every dead letter that is there now, in order within its partition."""
    topic = Topics.of(settings, {}).dead_letters
    await check_connection(settings)
    partitions = await _partitions(settings, topic)
    consumer = _consumer(settings, "read_committed")
    try:
        ends = await _ends(settings, partitions)
        await consumer.start()
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        unread = {tp for tp in partitions if begins[tp] < ends[tp]}
        heard = time.monotonic()
        while unread and time.monotonic() - heard < _SILENCE_SECONDS:
            fetched = await consumer.getmany(*unread, timeout_ms=_FETCH_MS)
            for tp, records in fetched.items():
                heard = time.monotonic()
                for record in records:
                    if record.offset < ends[tp]:
                        yield _dead_letter(record)
            # A transaction ends with a marker that is no record, so the position decides.
            unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}
        for tp in sorted(unread):
            left = f"from offset {await consumer.position(tp)} to {ends[tp]}"
            click.echo(
                f"{topic}/{tp.partition}: {left} cannot be read: a transaction is open", err=True
            )
    except KafkaError as error:
        raise DependencyError(f"{topic} cannot be read: {error}") from error
    finally:
        await consumer.stop()


async def _ends(settings: Settings, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return where the log ends, which what is committed this moment reaches a moment later."""
    consumer = _consumer(settings, "read_uncommitted")
    try:
        await consumer.start()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return ends


def _consumer(settings: Settings, isolation_level: str) -> AIOKafkaConsumer:
    install_lenient_records()
    return AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
    )


async def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    # A consumer asks about topics in a way that may create them; the admin client only looks.
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        (answer,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    match for_code(answer["error_code"]):
        case errors.NoError:
            indexes = sorted(one["partition"] for one in answer["partitions"])
            return [TopicPartition(topic, index) for index in indexes]
        case errors.UnknownTopicOrPartitionError:
            raise DependencyError(f"topic {topic} does not exist; run `orchestrator topics`")
        case error:
            raise DependencyError(f"topic {topic}: {error.__name__}")


def _dead_letter(record: ConsumerRecord[bytes | None, bytes | None]) -> DeadLetter:
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        stamped_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        why={
            name.removeprefix(_PREFIX): (mark or b"").decode("utf-8", "replace")
            for name, mark in record.headers
            if name.startswith(_PREFIX)
        },
    )


def _reason(letter: DeadLetter) -> str:
    return letter.why.get("reason", "unknown")


def _told(counts: Counter[str]) -> str:
    """Say how many, and how many of each reason."""
    total = f"{counts.total()} dead letters"
    each = ", ".join(f"{_printable(reason)} {count}" for reason, count in counts.most_common())
    return f"{total} ({each})" if each else total


def _as_text(letter: DeadLetter, *, values: bool) -> str:
    put_aside = letter.why.get("time") or rfc3339(letter.stamped_ms)
    line = (
        f"{letter.partition}/{letter.offset}  {put_aside}  {_reason(letter)}"
        f"  from {letter.origin}: {letter.why.get('detail', '')}"
    )
    lines = [_printable(line)]
    if values:
        lines.append(_printable(f"    key     {_readable(letter.key)}"))
        lines += [_printable(f"    {name}: {_readable(mark)}") for name, mark in _own(letter)]
        lines.append(_printable(f"    value   {_readable(letter.value)}"))
    return "\n".join(lines)


def _as_json(letter: DeadLetter, *, values: bool) -> str:
    line: dict[str, Any] = {
        "partition": letter.partition,
        "offset": letter.offset,
        "stamped": rfc3339(letter.stamped_ms),
        **{f"{_PREFIX}{name}": text for name, text in letter.why.items()},
    }
    if values:
        # Bytes need not be text, so they are told in a form that always gives them back.
        line["key_base64"] = _base64(letter.key)
        line["value_base64"] = _base64(letter.value)
        line["headers_base64"] = [[name, _base64(mark)] for name, mark in _own(letter)]
    return orjson.dumps(line).decode()


def _own(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    return [header for header in letter.headers if not header[0].startswith(_PREFIX)]


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _readable(data: bytes | None) -> str:
    return "(null)" if data is None else data.decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    """Return the text without what could steer a terminal or forge a line."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
