"""The open tasks of a customer, read from an encoded state without decoding the rest.

The read model lists tasks with it, for every changelog record that it takes in. Most customers
have none, and of those nothing is decoded.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct, msgpack

from orchestrator.core.customer import Customer, OpenCommand
from orchestrator.core.encoded.state import HEADER_BYTES, check_state_format, part_decoder

TASK: Final = "task"
# The kind as an open command holds it; a longer text may contain these bytes, which costs a look.
_MARK: Final = msgpack.encode(TASK)


class OpenTask(Struct, frozen=True, gc=False):
    """A task that somebody has to do, and where it comes from."""

    id: str
    channel: str
    journey: str
    version: int
    step: str
    enrollment: str
    created_ms: int
    expires_at_ms: int
    claimed_by: str | None
    claimed_ms: int | None


class _Holding(Struct, frozen=True, array_like=True, gc=False):
    """The first fields of an `Enrollment`, up to the open commands."""

    id: str
    journey: str
    version: int
    key: Raw
    entry_time_ms: Raw
    entered_at_ms: int
    cause: Raw
    step: Raw = Raw()
    wake_at_ms: Raw = Raw()
    visits: Raw = Raw()
    products: Raw = Raw()
    trigger: Raw = Raw()
    open_commands: tuple[OpenCommand, ...] = ()


_decoder: Final = part_decoder(Customer, "enrollments", tuple[_Holding, ...])


def open_tasks(value: bytes) -> tuple[OpenTask, ...]:
    """Return the open tasks of a changelog value.

    Raises UnknownStateFormat for a record of a newer release.
    """
    check_state_format(value)
    if _MARK not in value:
        return ()
    found: tuple[_Holding, ...] = _decoder.decode(memoryview(value)[HEADER_BYTES:]).enrollments
    return tuple(
        OpenTask(
            id=task.id,
            channel=task.channel,
            journey=one.journey,
            version=one.version,
            step=task.step,
            enrollment=one.id,
            # Tasks of an older release do not say when they were made.
            created_ms=one.entered_at_ms if task.created_ms is None else task.created_ms,
            expires_at_ms=task.expires_at_ms,
            claimed_by=task.claimed_by,
            claimed_ms=task.claimed_ms,
        )
        for one in found
        for task in one.open_commands
        if task.kind == TASK
    )
