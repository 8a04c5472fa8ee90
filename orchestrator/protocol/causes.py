"""Causes in the journey log that are no event and no time: what another owner has told.

`outputs` has the others, and writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from orchestrator.core.identity.notices import AddressShared, MergeAsked, StateMoved

if TYPE_CHECKING:
    from orchestrator.protocol.outputs import Position


class MergeCause(Struct, frozen=True, tag="merge", tag_field="kind", gc=False):
    """The customer turned out to be `survivor`: `source` and `id` name the event that says so."""

    topic: str
    partition: int
    offset: int
    source: str
    id: str
    survivor: str


class StateCause(Struct, frozen=True, tag="state", tag_field="kind", gc=False):
    """What was known of `absorbed` has come, for that is this customer too."""

    topic: str
    partition: int
    offset: int
    source: str
    id: str
    absorbed: str


class SharedCause(Struct, frozen=True, tag="shared", tag_field="kind", gc=False):
    """Other known customers have the same e-mail address or phone number."""

    topic: str
    partition: int
    offset: int
    by: str


NoticeCause = MergeCause | StateCause | SharedCause


def notice_cause(
    position: Position, notice: MergeAsked | StateMoved | AddressShared
) -> NoticeCause:
    """Return the cause of a decision about what another owner has told."""
    place = position.topic, position.partition, position.offset
    match notice:
        case MergeAsked():
            return MergeCause(*place, notice.cause.source, notice.cause.id, notice.survivor)
        case StateMoved():
            return StateCause(*place, notice.cause.source, notice.cause.id, notice.state.id)
        case AddressShared():
            return SharedCause(*place, notice.by)
        case _:
            assert_never(notice)
