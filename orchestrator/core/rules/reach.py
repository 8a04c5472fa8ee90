"""What an enrollment does to the world: messages, questions, tasks, audiences, events, attributes.

`advance` walks the steps and comes here for those that act. A step that may not act is refused with
a reason in the log, and the walk goes on; only what cannot be evaluated fails the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from orchestrator.core.command import SOURCE, CommandClass, CommandType
from orchestrator.core.customer import Attribute, Cause, Enrollment
from orchestrator.core.decision import AttributesSet, EventTold, Refusal, ToldEvent
from orchestrator.core.expressions.condition import Failed, is_empty, plain
from orchestrator.core.expressions.templates import OFFER
from orchestrator.core.language.words import Send, Task
from orchestrator.core.offers import promises
from orchestrator.core.offers.promises import Refused
from orchestrator.core.people.briefing import context_in
from orchestrator.core.people.tasks import queue_of
from orchestrator.core.rules.draft import Instruction, derived_id
from orchestrator.core.rules.guard.channels import GRACE_MS, cut_off, in_order
from orchestrator.core.rules.guard.checks import (
    Attempt,
    Verdict,
    ask_guard,
    count,
    may_say_farewell,
    may_say_instead,
    refuse,
)
from orchestrator.core.rules.waiting import zone_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.command import Command, CommandPromise
    from orchestrator.core.customer import Promise
    from orchestrator.core.language.offers import Otherwise
    from orchestrator.core.language.words import (
        Ask,
        Audience,
        Emit,
        Setting,
        Variable,
        Webhook,
    )
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.draft import Draft

# The step name of a message that an exit sends; it belongs to no step of the journey.
FAREWELL_STEP: Final = "exit"
# The journey of what an offer sends itself: no journey's file can have this name. In the id of the
# enrollment the offer stands where a journey's key does.
OFFER_JOURNEY: Final = "offers"
_OFFER_VERSION: Final = 1


class Told(NamedTuple):
    """An offer that a message tells, the promise that it makes, and what is said of it."""

    offer: str
    promise: Promise
    said: CommandPromise


def send(walk: Walk, step: str, word: Send) -> Failed | Verdict | None:
    """Emit one message, unless something forbids it; or what is said in place of its offer."""
    command_class = word.command_class or walk.plan.journey.kind
    promotional = command_class is CommandClass.PROMOTIONAL
    delivery = word.delivery or ("at_most_once" if promotional else "at_least_once")
    instead = _instead(walk.draft, walk.enrollment, word)
    born, said = walk.draft.sequence, instead or word
    if not said.or_:
        done = _message(walk, step, said, command_class, delivery=delivery)
    elif said.all_:
        done = _to_all(walk, step, said, command_class, delivery=delivery)
    else:
        done = _to_one(walk, step, said, command_class, delivery=delivery)
    if instead is not None and walk.draft.sequence > born:
        _note_greeted(walk.draft, walk.enrollment, step, word)
    return done


def send_at_once(walk: Walk, step: str, otherwise: Otherwise, channel: str) -> None:
    """Send what is said in place of an offer now: it answers what the customer has just done."""
    draft, enrollment = walk.draft, walk.enrollment
    word = _said_instead(otherwise, Send(channel=channel, template=otherwise.template))
    command_class = walk.plan.journey.kind
    expires_at_ms = draft.expires_at_ms(command_class, draft.now_ms)
    attempt = Attempt(step, channel, command_class, expires_at_ms)
    if not may_say_instead(draft, enrollment, attempt):
        return
    promotional = command_class is CommandClass.PROMOTIONAL
    delivery = "at_most_once" if promotional else "at_least_once"
    failed = _go_out(walk, attempt, word, delivery=delivery)
    if failed is not None:
        reason, detail = Refusal.MISSING_VARIABLE, failed.detail
        refuse(draft, enrollment, step, channel, reason=reason, detail=detail)


def greet(draft: Draft, step: str, otherwise: Otherwise, *, channel: str, instead_of: str) -> None:
    """Send now what is said in place of an offer that no journey is there to tell.

    A page or an agent had asked for it, or the run that told it is over. No enrollment keeps the
    message, so that no exit recalls it. Whoever is at a task or an ad reads it in the journey log.
    """
    declared = draft.journeys.channels.get(channel)
    if declared is None or declared.kind != "message":
        return
    now_ms, command_class = draft.now_ms, CommandClass.PROMOTIONAL
    sender = Enrollment(
        id=f"{OFFER_JOURNEY}/{instead_of}#1",
        journey=OFFER_JOURNEY,
        version=_OFFER_VERSION,
        key=instead_of,
        entry_time_ms=now_ms,
        entered_at_ms=now_ms,
        cause=Cause(SOURCE, f"{OFFER_JOURNEY}/{instead_of}@{now_ms}"),
    )
    word = _said_instead(otherwise, Send(channel=channel, template=otherwise.template))
    attempt = Attempt(step, channel, command_class, draft.expires_at_ms(command_class, now_ms))
    may = may_say_instead(draft, sender, attempt)
    if may and (command := _say_at_once(draft, sender, attempt, word, delivery="at_most_once")):
        count(draft, command)
        draft.promoted = sender.id


def _to_one(
    walk: Walk, step: str, word: Send, command_class: CommandClass, *, delivery: str
) -> Failed | Verdict | None:
    """Emit a message on the best channel that reaches the customer and was not tried before."""
    draft, cut = walk.draft, None
    open_channels: list[str] = []
    for channel in in_order(draft, word):
        if channel not in walk.tried:
            reason = cut_off(draft, channel, command_class)
            cut = cut or reason
            if reason is None:
                open_channels.append(channel)
    if not open_channels:
        if cut is not None:
            refuse(draft, walk.enrollment, step, word.channel, reason=cut[0], detail=cut[1])
        return None
    first, *others = open_channels
    patience_ms = word.patience if others else None
    born = draft.sequence
    variant = word.on(first)
    done = _message(walk, step, variant, command_class, delivery=delivery, patience_ms=patience_ms)
    if done is not None or draft.sequence == born or patience_ms is None:
        return done
    command = walk.open_commands[-1]
    walk.await_delivery(step, command, command.expires_at_ms + GRACE_MS)
    return Verdict.HELD


def _to_all(
    walk: Walk, step: str, word: Send, command_class: CommandClass, *, delivery: str
) -> Failed | Verdict | None:
    """Emit a message on every channel that reaches the customer, or wait with all of them."""
    expires_at_ms = walk.draft.expires_at_ms(command_class, walk.due_ms, word.expires_after)
    going: list[Attempt] = []
    for channel in word.channels:
        attempt = Attempt(step, channel, command_class, expires_at_ms, offer=word.offer)
        verdict = ask_guard(walk, attempt, going)
        if verdict in (Verdict.HELD, Verdict.CONTENDS):
            return verdict
        if verdict is Verdict.GO:
            going.append(attempt)
    for attempt in going:
        failed = _go_out(walk, attempt, word.on(attempt.channel), delivery=delivery)
        if failed is not None:
            return failed
    return None


def ask(walk: Walk, step: str, word: Ask) -> Failed | Verdict | None:
    """Ask a question, unless its answer is known or it was asked before."""
    draft, attribute = walk.draft, word.attribute
    held = draft.attributes.get(attribute)
    if held is not None and not is_empty(held.value):
        return None
    if attribute in draft.asked:
        reason = Refusal.ALREADY_ASKED
        refuse(draft, walk.enrollment, step, word.channel, reason=reason, detail=attribute)
        return None
    command_class = word.command_class or walk.plan.journey.kind
    born = draft.sequence
    done = _message(walk, step, word, command_class, delivery="at_most_once")
    if done is None and draft.sequence > born:
        draft.asked = {**draft.asked, attribute: draft.commands[-1].id}
    return done


def webhook(walk: Walk, step: str, word: Webhook) -> Failed | Verdict | None:
    """Tell another system."""
    command_class = walk.plan.journey.kind
    return _message(walk, step, word, command_class, delivery="at_least_once", kind="webhook")


def task(walk: Walk, step: str, word: Task) -> Failed | Verdict | None:
    """Let a person do something."""
    command_class = walk.plan.journey.kind
    return _message(walk, step, word, command_class, delivery="at_least_once", kind="task")


def audience(walk: Walk, step: str, word: Audience) -> Verdict | None:
    """Add the customer to an audience, or remove them from it."""
    draft, command_class = walk.draft, walk.plan.journey.kind
    adds = word.add is not None
    since_ms = walk.due_ms if adds else draft.now_ms  # It is never too late to remove.
    expires_at_ms = draft.expires_at_ms(command_class, since_ms)
    if adds:
        attempt = Attempt(step, word.channel, command_class, expires_at_ms, "audience")
        verdict = ask_guard(walk, attempt)
        if verdict is not Verdict.GO:
            return verdict
    name = word.add if adds else word.remove
    instruction = Instruction(
        type=CommandType.AUDIENCE_ADD if adds else CommandType.AUDIENCE_REMOVE,
        step=step,
        channel=word.channel,
        command_class=command_class,
        expires_at_ms=expires_at_ms,
        visit=walk.visit(step),
        note=name or "",
        audience=name,
    )
    place = (word.channel, name)
    # Who is added again is still in it once.
    walk.open_commands = [
        command
        for command in walk.open_commands
        if command.kind != "audience" or (command.channel, command.audience) != place
    ]
    if adds:
        walk.emit("audience", instruction)
    else:
        draft.emit(walk.enrollment, instruction)
    return None


def set_attributes(walk: Walk, step: str, word: Mapping[str, Setting]) -> Failed | None:
    """Write attributes of the profile; what is missing sets nothing."""
    draft, names = walk.draft, []
    attributes = dict(draft.attributes)
    for name, setting in word.items():
        value: Any = setting.to
        if setting.value is not None:
            value = draft.scope.value(setting.value, walk.enrollment)
            if isinstance(value, Failed):
                if value.missing:
                    continue
                return value
            value = plain(value)
        held = attributes.get(name)
        if held is not None and held.value == value and type(held.value) is type(value):
            continue
        attributes[name] = Attribute(value, draft.now_ms, SOURCE, f"{walk.enrollment.id}/{step}")
        names.append(name)
    if names:
        draft.change_attributes(attributes)
        draft.log(AttributesSet(walk.enrollment.id, step, tuple(names)))
    return None


def tell(walk: Walk, step: str, word: Emit) -> Failed | None:
    """Tell an event about this customer; it comes back as a touchpoint."""
    draft, data = walk.draft, {}
    for name, variable in word.data.items():
        value = draft.scope.value(variable.value, walk.enrollment)
        if isinstance(value, Failed) and not value.missing:
            return value
        if isinstance(value, Failed) or is_empty(value):
            value = variable.default
        if value is not None:
            data[name] = plain(value)
    cause = draft.cause_of(walk.enrollment)
    parts = (draft.customer.id, walk.enrollment.id, step, walk.visit(step), cause.source, cause.id)
    told = ToldEvent(
        id=derived_id(parts),
        type=word.event,
        subject=draft.customer.id,
        time_ms=draft.now_ms,
        data=data,
        traceparent=None if draft.event is None else draft.event.traceparent,
    )
    draft.told.append(told)
    draft.log(EventTold(walk.enrollment.id, step, told.type, told.id))
    return None


def send_farewell(draft: Draft, enrollment: Enrollment, word: Send, *, kind: CommandClass) -> None:
    """Send the last message of an exit. It is about what happened, so it is never promotional.

    The enrollment is over, so that nothing can hold the message until a resume.
    """
    command_class = word.command_class or kind
    if command_class is CommandClass.PROMOTIONAL:
        command_class = CommandClass.SERVICE
    instead = _instead(draft, enrollment, word)
    if instead is not None:
        born = draft.sequence
        send_farewell(draft, enrollment, instead, kind=kind)
        if draft.sequence > born:
            _note_greeted(draft, enrollment, FAREWELL_STEP, word)
        return
    if word.or_:
        reached = (one for one in in_order(draft, word) if not cut_off(draft, one, command_class))
        word = word.on(next(reached, word.channel))
    expires_at_ms = draft.expires_at_ms(command_class, draft.now_ms, word.expires_after)
    channel = word.channel
    attempt = Attempt(FAREWELL_STEP, channel, command_class, expires_at_ms, offer=word.offer)
    if may_say_farewell(draft, enrollment, attempt):
        _say_at_once(draft, enrollment, attempt, word, delivery=word.delivery or "at_least_once")


def _say_at_once(
    draft: Draft, enrollment: Enrollment, attempt: Attempt, word: Send, *, delivery: str
) -> Command | None:
    """Emit a message that cannot wait and that no enrollment keeps; None without its words."""
    told = _told(draft, enrollment, word)
    filled = _filled(draft, enrollment, attempt.step, word, told)
    if filled is None:
        return None
    if isinstance(filled, Failed):
        reason, detail = Refusal.MISSING_VARIABLE, filled.detail
        refuse(draft, enrollment, attempt.step, word.channel, reason=reason, detail=detail)
        return None
    variables, content = filled
    command = draft.emit(
        enrollment,
        Instruction(
            type=CommandType.MESSAGE_SEND,
            step=attempt.step,
            channel=word.channel,
            command_class=attempt.command_class,
            expires_at_ms=_bounded(attempt.expires_at_ms, told),
            delivery=delivery,
            template=word.template,
            variables=variables,
            content=content,
            offer=None if told is None else told.offer,
            promise=None if told is None else told.said,
        ),
    )
    _grant(draft, told)
    return command


def _message(
    walk: Walk,
    step: str,
    word: Send | Ask | Task | Webhook,
    command_class: CommandClass,
    *,
    delivery: str,
    kind: str = "message",
    patience_ms: int | None = None,
) -> Failed | Verdict | None:
    expires_at_ms = walk.draft.expires_at_ms(command_class, walk.due_ms, word.expires_after)
    offer = word.offer if isinstance(word, Send) else None
    attempt = Attempt(step, word.channel, command_class, expires_at_ms, kind, offer)
    verdict = ask_guard(walk, attempt)
    if verdict is not Verdict.GO:
        return verdict
    if patience_ms is not None:
        shorter_ms = min(expires_at_ms, walk.draft.now_ms + patience_ms)
        attempt = replace(attempt, expires_at_ms=shorter_ms)
    return _go_out(walk, attempt, word, delivery=delivery)


def _go_out(
    walk: Walk, attempt: Attempt, word: Send | Ask | Task | Webhook, *, delivery: str
) -> Failed | None:
    """Emit what the guard lets pass, if it can be rendered, and make the promise that it tells."""
    told = _told(walk.draft, walk.enrollment, word)
    filled = _filled(walk.draft, walk.enrollment, attempt.step, word, told)
    if filled is None or isinstance(filled, Failed):
        return filled
    variables, content = filled
    task = isinstance(word, Task)
    walk.emit(
        "task" if task else "message",
        Instruction(
            type=CommandType.TASK_CREATE if task else CommandType.MESSAGE_SEND,
            step=attempt.step,
            channel=word.channel,
            command_class=attempt.command_class,
            expires_at_ms=_bounded(attempt.expires_at_ms, told),
            delivery=delivery,
            visit=walk.visit(attempt.step),
            template=word.template,
            variables=variables,
            content=content,
            offer=None if told is None else told.offer,
            promise=None if told is None else told.said,
            queue=queue_of(walk.draft.journeys, word) if isinstance(word, Task) else None,
            context=context_in(walk.draft, word.channel) if isinstance(word, Task) else None,
        ),
    )
    _grant(walk.draft, told)
    return None


def _instead(draft: Draft, enrollment: Enrollment, word: Send) -> Send | None:
    """Return what is sent in place of an offer that is not for this customer, once for each."""
    terms = None if word.offer is None else draft.journeys.offers.get(word.offer)
    if terms is None or terms.offer.otherwise is None or promises.is_greeted(draft, terms.name):
        return None
    channel = word.channel
    may = promises.may_promise(draft, terms.name, channel=channel, enrollment=enrollment.id)
    if not isinstance(may, Refused) or may.reason is not Refusal.OFFER_NOT_QUALIFIED:
        return None
    return _said_instead(terms.offer.otherwise, word)


def _said_instead(otherwise: Otherwise, word: Send) -> Send:
    said = {"template": otherwise.template, "variables": otherwise.variables, "offer": None}
    return word.model_copy(update=said)


def _note_greeted(draft: Draft, enrollment: Enrollment, step: str, word: Send) -> None:
    """Log that the offer was not told, and remember that something else was said in its place."""
    refuse(draft, enrollment, step, word.channel, reason=Refusal.OFFER_NOT_QUALIFIED)
    if word.offer is not None:
        promises.note_greeted(draft, word.offer)


def _told(draft: Draft, enrollment: Enrollment, word: Send | Ask | Task | Webhook) -> Told | None:
    """Return what the message tells of its offer, which the guard has let pass."""
    if not isinstance(word, Send) or word.offer is None:
        return None
    name, channel = word.offer, word.channel
    may = promises.may_promise(draft, name, channel=channel, enrollment=enrollment.id)
    assert not isinstance(may, Refused), "the guard has asked in this decision"
    return Told(name, may, promises.told(draft, name, may))


def _grant(draft: Draft, told: Told | None) -> None:
    """Make the promise of a message that goes out in this decision."""
    if told is not None:
        promises.grant(draft, told.offer, told.promise, command=draft.commands[-1].id)


def _bounded(expires_at_ms: int, told: Told | None) -> int:
    """Return until when a message may go out: what it promises must hold when it arrives."""
    return expires_at_ms if told is None else min(expires_at_ms, told.promise.expires_at_ms)


def _filled(
    draft: Draft,
    enrollment: Enrollment,
    step: str,
    word: Send | Ask | Task | Webhook,
    told: Told | None = None,
) -> tuple[dict[str, Any], dict[str, str] | None] | Failed | None:
    """Return the variables and the rendered content; None when it is refused, which is logged."""
    variables = _variables(draft, enrollment, word.variables)
    if isinstance(variables, Failed):
        if not variables.missing:
            return variables
        reason, detail = Refusal.MISSING_VARIABLE, variables.detail
        refuse(draft, enrollment, step, word.channel, reason=reason, detail=detail)
        return None
    templates = draft.journeys.templates
    if (word.channel, word.template) not in templates:
        return variables, None
    languages = (draft.locale(), draft.journeys.shop.locale)
    values = variables | ({} if told is None else {OFFER: _shown(draft, enrollment, told)})
    content = templates.render(word.channel, word.template, languages, values)
    if isinstance(content, Failed):
        reason, detail = Refusal.RENDERING_FAILED, content.detail
        refuse(draft, enrollment, step, word.channel, reason=reason, detail=detail)
        return None
    return variables, content


def _shown(draft: Draft, enrollment: Enrollment, told: Told) -> dict[str, Any]:
    plan = draft.journeys.plans[enrollment.journey, enrollment.version]
    return promises.shown(told.said, zone_of(draft.attributes, draft, plan))


def _variables(
    draft: Draft, enrollment: Enrollment, variables: Mapping[str, Variable]
) -> dict[str, Any] | Failed:
    """Return the value of each variable; a missing or empty one has its default, or is refused."""
    values: dict[str, Any] = {}
    for name, variable in variables.items():
        value = draft.scope.value(variable.value, enrollment)
        if isinstance(value, Failed) and not value.missing:
            return value
        if isinstance(value, Failed) or is_empty(value):
            if variable.default is None:
                return Failed(name, missing=True)
            value = variable.default
        values[name] = plain(value)
    return values
