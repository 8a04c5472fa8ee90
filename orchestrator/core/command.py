"""What leaves the core: commands to channel senders, and the fence record of a customer.

Field names are the contract's JSON names; `protocol/codec` writes the CloudEvents envelope around
`Command`. Times are epoch milliseconds here and RFC 3339 in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from orchestrator.core.customer import Cause
from orchestrator.core.people.context import TaskContext

# The CloudEvents source of everything that the orchestrator writes.
SOURCE: Final = "/orchestrator"


class CommandType(StrEnum):
    """The CloudEvents type of a command."""

    MESSAGE_SEND = "message.send"
    MESSAGE_CANCEL = "message.cancel"
    AUDIENCE_ADD = "audience.add"
    AUDIENCE_REMOVE = "audience.remove"
    TASK_CREATE = "task.create"
    TASK_CLOSE = "task.close"


class CommandClass(StrEnum):
    """Why a message goes out; decides its lane and what may refuse it."""

    TRANSACTIONAL = "transactional"
    SERVICE = "service"
    PROMOTIONAL = "promotional"


class CommandPromise(Struct, frozen=True, gc=False):
    """What the command of an offer promises: in the customer's language, and until when.

    There is no `code` when the offer has none, and while the promise is provisional.
    """

    text: str
    code: str | None
    valid_until_ms: int
    provisional: bool


class Command(Struct, frozen=True, gc=False):
    """One instruction to the senders of a channel, born once with its id and sequence.

    `cancels` holds command ids for `message.cancel` and `task.close`; `audience` names the
    audience of `audience.add` and `audience.remove`; `promise` stands beside an `offer`; `queue`
    and `context` belong to `task.create`; the other fields are the contract's. `sent_under` is the
    id that the commands in `cancels` were emitted under, when that was absorbed into the customer's
    since: this one stands on its partition, behind them.
    """

    id: str
    type: CommandType
    customer: str
    time_ms: int
    channel: str
    command_class: CommandClass
    mode: str
    journey: str
    journey_version: int
    step: str
    enrollment: str
    caused_by: Cause
    sequence: int
    expires_at_ms: int
    delivery: str
    not_before_ms: int | None = None
    recipient: Mapping[str, str] | None = None
    locale: str | None = None
    template: str | None = None
    variables: Mapping[str, Any] | None = None
    content: Mapping[str, str] | None = None
    offer: str | None = None
    audience: str | None = None
    cancels: tuple[str, ...] = ()
    traceparent: str | None = None
    promise: CommandPromise | None = None
    queue: str | None = None
    context: TaskContext | None = None
    sent_under: str | None = None

    @property
    def promotional_lane(self) -> bool:
        """Whether it travels on `commands.<channel>.promotional`."""
        return self.command_class is CommandClass.PROMOTIONAL
