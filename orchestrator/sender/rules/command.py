"""A command as a sender reads it: the contract's JSON, checked, and where its record stood.

`lane_reader` calls `decode_command` for every record of a lane. Fields that a sender does not need
are ignored, so that the orchestrator may add some; the whole JSON stays in `body`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, Struct, ValidationError, field
from msgspec.json import Decoder

SEND: Final = "message.send"
CANCEL: Final = "message.cancel"
AUDIENCE_ADD: Final = "audience.add"
AUDIENCE_REMOVE: Final = "audience.remove"
TASK_CREATE: Final = "task.create"
TASK_CLOSE: Final = "task.close"
# What ends something: it goes out whatever is paused, fenced or expired.
ENDINGS: Final = frozenset({CANCEL, AUDIENCE_REMOVE, TASK_CLOSE})
KNOWN: Final = ENDINGS | {SEND, AUDIENCE_ADD, TASK_CREATE}
CANCELLING: Final = frozenset({CANCEL, TASK_CLOSE})

PROMOTIONAL: Final = "promotional"
TRANSACTIONAL: Final = "transactional"
AT_MOST_ONCE: Final = "at_most_once"
_DELIVERIES: Final = (AT_MOST_ONCE, "at_least_once")
_CLASSES: Final = (TRANSACTIONAL, "service", PROMOTIONAL)
_MODES: Final = ("test", "live")
ID_CHARACTERS_MAX: Final = 256


class Unreadable(Exception):
    """A record is no command; `reason` is one of the contract's dead-letter reasons."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class _Data(Struct, frozen=True, gc=False):
    channel: str
    command_class: str = field(name="class")
    mode: str
    journey: str
    step: str
    enrollment: str
    expires_at: str
    delivery: str
    sequence: int
    journey_version: int = 0
    recipient: dict[str, str] | None = None
    locale: str | None = None
    template: str | None = None
    variables: dict[str, Any] | None = None
    content: dict[str, str] | None = None
    offer: str | None = None
    not_before: str | None = None
    audience: str | None = None
    cancels: tuple[str, ...] = ()


class _Envelope(Struct, frozen=True, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: _Data


class _Kind(Struct, frozen=True, gc=False):
    type: str


class Command(Struct, frozen=True, gc=False, kw_only=True):
    """One instruction of the orchestrator. Times are milliseconds since 1970, UTC.

    `body` is the CloudEvent as it came, for providers that want all of it. `attempt` is 1 at the
    first hand-over and rises with each repeat; `id` never changes and is the idempotency key.
    """

    id: str
    type: str
    customer: str
    channel: str
    command_class: str
    mode: str
    journey: str
    journey_version: int
    step: str
    enrollment: str
    sequence: int
    born_ms: int
    expires_at_ms: int
    delivery: str
    place: Place
    body: bytes
    attempt: int = 1
    not_before_ms: int | None = None
    address_ref: str | None = None
    locale: str | None = None
    template: str | None = None
    variables: dict[str, Any] | None = None
    content: dict[str, str] | None = None
    offer: str | None = None
    audience: str | None = None
    cancels: tuple[str, ...] = ()

    @property
    def ends_something(self) -> bool:
        """Whether it takes something back, and so goes out whatever else holds."""
        return self.type in ENDINGS

    @property
    def promotional(self) -> bool:
        """Whether it may be refused for promotional reasons."""
        return self.command_class == PROMOTIONAL

    @property
    def once(self) -> bool:
        """Whether an attempt is recorded before the call and never repeated.

        What ends something is always repeated: taking back twice harms nobody.
        """
        return self.delivery == AT_MOST_ONCE and not self.ends_something


_envelope: Final = Decoder(_Envelope)
_kind: Final = Decoder(_Kind)


def decode_command(value: bytes | None, place: Place) -> Command | None:
    """Return the command, or None when its type is one that this version does not know.

    Raises Unreadable, and nothing else.
    """
    if value is None:
        raise Unreadable("empty_value", "the record has no value")
    try:
        kind = _kind.decode(value).type
        if kind not in KNOWN:
            return None
        envelope = _envelope.decode(value)
    except ValidationError as error:
        raise Unreadable("schema", str(error)) from None
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("invalid_json", str(error)) from None
    data = envelope.data
    _one_of("specversion", envelope.specversion, ("1.0",))
    _one_of("data.class", data.command_class, _CLASSES)
    _one_of("data.mode", data.mode, _MODES)
    _one_of("data.delivery", data.delivery, _DELIVERIES)
    for name, text in (("id", envelope.id), ("subject", envelope.subject)):
        if not 0 < len(text) <= ID_CHARACTERS_MAX:
            raise Unreadable("schema", f"{name}: must have 1 to {ID_CHARACTERS_MAX} characters")
    if kind in CANCELLING and not data.cancels:
        raise Unreadable("schema", "data.cancels: names nothing")
    return Command(
        id=envelope.id,
        type=kind,
        customer=envelope.subject,
        channel=data.channel,
        command_class=data.command_class,
        mode=data.mode,
        journey=data.journey,
        journey_version=data.journey_version,
        step=data.step,
        enrollment=data.enrollment,
        sequence=data.sequence,
        born_ms=time_ms("time", envelope.time),
        expires_at_ms=time_ms("data.expires_at", data.expires_at),
        delivery=data.delivery,
        place=place,
        body=value,
        not_before_ms=(
            None if data.not_before is None else time_ms("data.not_before", data.not_before)
        ),
        address_ref=(data.recipient or {}).get("address_ref"),
        locale=data.locale,
        template=data.template,
        variables=data.variables,
        content=data.content,
        offer=data.offer,
        audience=data.audience,
        cancels=data.cancels,
    )


def time_ms(name: str, text: str) -> int:
    """Return an RFC 3339 time in milliseconds. Raises Unreadable, naming the field."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Unreadable("schema", f"{name}: {text[:64]!r} is not an RFC 3339 time")
    return round((moment - _EPOCH).total_seconds() * 1000)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise Unreadable("schema", f"{name}: must be one of {', '.join(allowed)}")
