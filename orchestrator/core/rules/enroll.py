"""How customers enter journeys: by an event, at a time of the calendar, by coming into a segment.

`decide` comes here last, so that entries see the profile after the event and an exit that the
same event caused. A condition that is false is silent; every other refusal is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from orchestrator.core.command import SOURCE
from orchestrator.core.customer import ENDED_KEY_MS, Cause, Enrollment, JourneyMemory
from orchestrator.core.decision import Entered, EntryRefused, Refusal
from orchestrator.core.expressions.condition import Failed, Scope
from orchestrator.core.language.journey import After
from orchestrator.core.profile import is_owned, products_in
from orchestrator.core.rules.advance import start
from orchestrator.core.rules.exits import exited_later

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.customer import Attribute
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Plan
    from orchestrator.core.rules.draft import Draft

# Keys are ids of carts and orders, which the contract bounds at 256 characters.
KEY_CHARACTERS_MAX: Final = 256


class Refused(NamedTuple):
    """Why a journey was not entered."""

    reason: Refusal
    detail: str | None = None


def enter_by_event(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Enter every journey whose entry the event matches, and run it to its first wait.

    `decide` comes here only with types that enter something.
    """
    cause = Cause(event.source, event.id)
    for plan in draft.journeys.entering[event.type].asked(event.data):
        _try(draft, plan, cause, occurred_ms)


def enter_at(draft: Draft, plan: Plan, occurred_ms: int) -> None:
    """Enter a journey because a time of the calendar has come, for whom its condition holds."""
    memory = draft.memories.get(plan.name)
    last_ms = None if memory is None else memory.occurrence_ms
    if last_ms is not None and last_ms >= occurred_ms:
        return  # A time enters once, whoever asks twice.
    if _try(draft, plan, Cause(SOURCE, f"{plan.name}@{occurred_ms}"), occurred_ms):
        entered = draft.memories[plan.name]
        draft.remember(plan.name, replace(entered, occurrence_ms=occurred_ms))


def enter_segments(
    draft: Draft, before: Mapping[str, Attribute], after: Mapping[str, Attribute]
) -> None:
    """Enter whoever has come into a segment: its condition was not true before, and is now."""
    reads, lens = draft.journeys.reads_of_profile, draft.journeys.lens
    scopes = [
        Scope(one, draft.now_ms, event=None, reads=reads, lens=lens) for one in (before, after)
    ]
    for plan in draft.journeys.segments:
        was_in, is_in = (scope.holds(plan.entry.segment) for scope in scopes)
        if is_in is True and was_in is not True:
            event = draft.event
            if event is not None:
                cause, occurred_ms = Cause(event.source, event.id), min(event.time_ms, draft.now_ms)
            else:
                cause, occurred_ms = Cause(SOURCE, f"{plan.name}@{draft.now_ms}"), draft.now_ms
            _try(draft, plan, cause, occurred_ms)


def _try(draft: Draft, plan: Plan, cause: Cause, occurred_ms: int) -> bool:
    """Enter a journey if its condition holds and nothing forbids it; log what does."""
    holds = draft.scope.holds(plan.entry.when)
    if holds is False:
        return False
    if isinstance(holds, Failed):
        entered: Enrollment | Refused = Refused(Refusal.CONDITION_FAILED, holds.detail)
    else:
        entered = _enrollment(draft, plan, cause, occurred_ms)
    if isinstance(entered, Refused):
        draft.log(EntryRefused(plan.name, plan.version, entered.reason, entered.detail))
        return False
    _enter(draft, plan, entered)
    return True


def _enter(draft: Draft, plan: Plan, enrollment: Enrollment) -> None:
    memory = draft.memories.get(plan.name)
    entries = draft.entered_before(plan.name) + 1
    draft.remember(
        plan.name,
        JourneyMemory(
            entries=entries,
            last_entry_ms=draft.now_ms,
            last_end_ms=None if memory is None else memory.last_end_ms,
            ended_keys=() if memory is None else memory.ended_keys,
            occurrence_ms=None if memory is None else memory.occurrence_ms,
        ),
    )
    draft.log(Entered(enrollment=enrollment.id, journey=plan.name, version=plan.version))
    start(draft, plan, enrollment)


def _enrollment(draft: Draft, plan: Plan, cause: Cause, occurred_ms: int) -> Enrollment | Refused:
    """Return the enrollment that would begin, or why there is none."""
    entry = plan.entry
    if draft.now_ms - occurred_ms > entry.max_age:
        return Refused(Refusal.TOO_OLD)
    key = _key(draft, plan)
    if isinstance(key, Refused):
        return key
    refused = _refused_by_history(draft, plan, key)
    if refused is not None:
        return refused
    about = () if entry.about is None else draft.scope.value(entry.about)
    if isinstance(about, Failed) and not about.missing:
        return Refused(Refusal.CONDITION_FAILED, f"about: {about.detail}")
    ordinal = draft.entered_before(plan.name) + 1
    told = {} if draft.event is None or entry.on is None else draft.event.data
    would_be = Enrollment(
        id=f"{plan.name}#{ordinal}" if key is None else f"{plan.name}/{key}#{ordinal}",
        journey=plan.name,
        version=plan.version,
        key=key,
        entry_time_ms=occurred_ms,
        entered_at_ms=draft.now_ms,
        cause=cause,
        products=products_in(about),
        trigger=plan.trigger_fields.pick(told),
    )
    remembered = exited_later(draft, plan, would_be)
    if remembered is not None:
        cause = remembered.cause
        return Refused(Refusal.EXITED_LATER, f"{remembered.type} {cause.source} {cause.id}")
    return _without_owned(draft, would_be) if plan.promotional else would_be


def _key(draft: Draft, plan: Plan) -> str | Refused | None:
    if plan.entry.key is None:
        return None
    value = draft.scope.value(plan.entry.key)
    if isinstance(value, Failed):
        return Refused(Refusal.CONDITION_FAILED, f"key: {value.detail}")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return Refused(Refusal.CONDITION_FAILED, f"key: {value!r:.40} is no key")
    key = str(value)
    if len(key) > KEY_CHARACTERS_MAX:
        detail = f"key: is longer than {KEY_CHARACTERS_MAX} characters"
        return Refused(Refusal.CONDITION_FAILED, detail)
    return key


def _refused_by_history(draft: Draft, plan: Plan, key: str | None) -> Refused | None:
    """Refuse a second enrollment at a time, a used key, and what the journey's re-entry forbids."""
    for held in draft.enrollments:
        if held.journey == plan.name and held.step is not None and held.key == key:
            return Refused(Refusal.ALREADY_ENROLLED, held.id)
    memory = draft.memories.get(plan.name)
    if memory is None:
        return None
    if key is not None:
        used_from_ms = draft.now_ms - ENDED_KEY_MS
        if any(used == key and at_ms >= used_from_ms for used, at_ms in memory.ended_keys):
            return Refused(Refusal.REENTRY, f"the key {key} was used")
    reentry = plan.entry.reentry
    if reentry == "once":
        return Refused(Refusal.REENTRY, "once")
    if isinstance(reentry, After):
        last_ms = max(memory.last_entry_ms, memory.last_end_ms or 0)
        if draft.now_ms < last_ms + reentry.after:
            return Refused(Refusal.REENTRY, f"not before {last_ms + reentry.after} ms")
    return None


def _without_owned(draft: Draft, enrollment: Enrollment) -> Enrollment | Refused:
    """Return the enrollment about what the customer does not own yet."""
    products, owned_for = enrollment.products, draft.journeys.shop.owned_for
    wanted = tuple(
        one for one in products if not is_owned(one, draft.orders, owned_for, draft.now_ms)
    )
    if products and not wanted:
        return Refused(Refusal.ALREADY_OWNED, ", ".join(product.sku for product in products))
    return enrollment if wanted == products else replace(enrollment, products=wanted)
