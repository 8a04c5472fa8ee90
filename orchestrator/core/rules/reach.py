"""What an enrollment does to the world: messages, questions, tasks, audiences, events, attributes.

`advance` walks the steps and comes here for those that act. A step that may not act is refused with
a reason in the log, and the walk goes on; only what cannot be evaluated fails the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.core.command import SOURCE, CommandClass, CommandType
from orchestrator.core.condition import Failed, is_empty, plain
from orchestrator.core.customer import Attribute
from orchestrator.core.decision import AttributesSet, EventTold, Refusal, SendRefused, ToldEvent
from orchestrator.core.language.words import Send
from orchestrator.core.offers import promises
from orchestrator.core.offers.promises import Refused
from orchestrator.core.profile import is_owned
from orchestrator.core.rules.draft import Instruction, derived_id
from orchestrator.core.rules.waiting import zone_of
from orchestrator.core.templates import OFFER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.command import CommandPromise
    from orchestrator.core.customer import Enrollment, Promise
    from orchestrator.core.language.offers import Otherwise
    from orchestrator.core.language.words import (
        Ask,
        Audience,
        Emit,
        Setting,
        Task,
        Variable,
        Webhook,
    )
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.draft import Draft

# The step name of a message that an exit sends; it belongs to no step of the journey.
FAREWELL_STEP: Final = "exit"


class Told(NamedTuple):
    """An offer that a message tells, the promise that it makes, and what is said of it."""

    offer: str
    promise: Promise
    said: CommandPromise


def send(walk: Walk, step: str, word: Send) -> Failed | None:
    """Emit one message, unless something forbids it."""
    command_class = word.command_class or walk.plan.journey.kind
    promotional = command_class is CommandClass.PROMOTIONAL
    delivery = word.delivery or ("at_most_once" if promotional else "at_least_once")
    return _message(walk, step, word, command_class, delivery=delivery)


def instead_of(otherwise: Otherwise, channel: str, word: Send | None = None) -> Send:
    """Return the message that is sent in place of one that tells an offer."""
    like = Send(channel=channel, template=otherwise.template) if word is None else word
    said = {"template": otherwise.template, "variables": otherwise.variables, "offer": None}
    return like.model_copy(update=said)


def ask(walk: Walk, step: str, word: Ask) -> Failed | None:
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
    failed = _message(walk, step, word, command_class, delivery="at_most_once")
    if failed is None and draft.sequence > born:
        draft.asked = {**draft.asked, attribute: draft.commands[-1].id}
    return failed


def webhook(walk: Walk, step: str, word: Webhook) -> Failed | None:
    """Tell another system."""
    return _message(walk, step, word, walk.plan.journey.kind, delivery="at_least_once")


def task(walk: Walk, step: str, word: Task) -> Failed | None:
    """Let a person do something."""
    return _message(
        walk,
        step,
        word,
        walk.plan.journey.kind,
        delivery="at_least_once",
        kind="task",
        promotional=walk.plan.promotional,
    )


def audience(walk: Walk, step: str, word: Audience) -> None:
    """Add the customer to an audience, or remove them from it."""
    draft, command_class = walk.draft, walk.plan.journey.kind
    adds = word.add is not None
    since_ms = walk.due_ms if adds else draft.now_ms  # It is never too late to remove.
    expires_at_ms = draft.expires_at_ms(command_class, since_ms)
    promotional = adds and walk.plan.promotional
    if not _may_go(walk, step, word.channel, expires_at_ms, promotional=promotional):
        return
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
    """Send the last message of an exit. It is about what happened, so it is never promotional."""
    command_class = word.command_class or kind
    if command_class is CommandClass.PROMOTIONAL:
        command_class = CommandClass.SERVICE
    told = _told(draft, enrollment, word)
    if isinstance(told, Refused):
        instead = _instead(draft, enrollment, FAREWELL_STEP, word, told)
        if instead is not None:
            born = draft.sequence
            send_farewell(draft, enrollment, instead, kind=kind)
            _note_greeted(draft, word, born)
        return
    filled = _filled(draft, enrollment, FAREWELL_STEP, word, told)
    if filled is None:
        return
    if isinstance(filled, Failed):
        reason, detail = Refusal.MISSING_VARIABLE, filled.detail
        refuse(draft, enrollment, FAREWELL_STEP, word.channel, reason=reason, detail=detail)
        return
    variables, content = filled
    expires_at_ms = draft.expires_at_ms(command_class, draft.now_ms, word.expires_after)
    draft.emit(
        enrollment,
        Instruction(
            type=CommandType.MESSAGE_SEND,
            step=FAREWELL_STEP,
            channel=word.channel,
            command_class=command_class,
            expires_at_ms=_bounded(expires_at_ms, told),
            delivery=word.delivery or "at_least_once",
            template=word.template,
            variables=variables,
            content=content,
            offer=None if told is None else told.offer,
            promise=None if told is None else told.said,
        ),
    )
    _grant(draft, told)


def refuse(
    draft: Draft,
    enrollment: Enrollment,
    step: str,
    channel: str,
    *,
    reason: Refusal,
    detail: str | None = None,
) -> None:
    """Log that something was not sent, and why."""
    draft.log(
        SendRefused(
            enrollment=enrollment.id,
            journey=enrollment.journey,
            step=step,
            channel=channel,
            reason=reason,
            detail=detail,
        )
    )


def _message(
    walk: Walk,
    step: str,
    word: Send | Ask | Task | Webhook,
    command_class: CommandClass,
    *,
    delivery: str,
    kind: str = "message",
    promotional: bool | None = None,
) -> Failed | None:
    if promotional is None:
        promotional = command_class is CommandClass.PROMOTIONAL
    expires_at_ms = walk.draft.expires_at_ms(command_class, walk.due_ms, word.expires_after)
    if not _may_go(walk, step, word.channel, expires_at_ms, promotional=promotional):
        return None
    told = _told(walk.draft, walk.enrollment, word)
    if isinstance(told, Refused):
        assert isinstance(word, Send), "only a send tells an offer"
        return _send_instead(walk, step, word, told)
    filled = _filled(walk.draft, walk.enrollment, step, word, told)
    if filled is None or isinstance(filled, Failed):
        return filled
    variables, content = filled
    walk.emit(
        kind,
        Instruction(
            type=CommandType.TASK_CREATE if kind == "task" else CommandType.MESSAGE_SEND,
            step=step,
            channel=word.channel,
            command_class=command_class,
            expires_at_ms=_bounded(expires_at_ms, told),
            delivery=delivery,
            visit=walk.visit(step),
            template=word.template,
            variables=variables,
            content=content,
            offer=None if told is None else told.offer,
            promise=None if told is None else told.said,
        ),
    )
    _grant(walk.draft, told)
    return None


def _send_instead(walk: Walk, step: str, word: Send, refused: Refused) -> Failed | None:
    instead = _instead(walk.draft, walk.enrollment, step, word, refused)
    if instead is None:
        return None
    born = walk.draft.sequence
    failed = send(walk, step, instead)
    _note_greeted(walk.draft, word, born)
    return failed


def _note_greeted(draft: Draft, word: Send, born: int) -> None:
    """Remember that something else was said in place of an offer, if it was."""
    if draft.sequence > born and word.offer is not None:
        promises.note_greeted(draft, word.offer)


def _told(
    draft: Draft, enrollment: Enrollment, word: Send | Ask | Task | Webhook
) -> Told | Refused | None:
    """Return what the message tells of its offer, if it has one and it may be told now."""
    if not isinstance(word, Send) or word.offer is None:
        return None
    name, channel = word.offer, word.channel
    may = promises.may_promise(draft, name, channel=channel, enrollment=enrollment.id)
    return may if isinstance(may, Refused) else Told(name, may, promises.told(draft, name, may))


def _instead(
    draft: Draft, enrollment: Enrollment, step: str, word: Send, refused: Refused
) -> Send | None:
    """Log that an offer was not told; return what is sent in its place, once for each offer."""
    refuse(draft, enrollment, step, word.channel, reason=refused.reason, detail=refused.detail)
    if refused.reason is not Refusal.OFFER_NOT_QUALIFIED or word.offer is None:
        return None
    terms = draft.journeys.offers.get(word.offer)
    otherwise = None if terms is None else terms.offer.otherwise
    if otherwise is None or promises.is_greeted(draft, word.offer):
        return None
    return instead_of(otherwise, word.channel, word)


def _grant(draft: Draft, told: Told | None) -> None:
    """Make the promise of a message that goes out in this decision."""
    if told is not None:
        promises.grant(draft, told.offer, told.promise, command=draft.commands[-1].id)


def _bounded(expires_at_ms: int, told: Told | None) -> int:
    """Return until when a message may go out: what it promises must hold when it arrives."""
    return expires_at_ms if told is None else min(expires_at_ms, told.promise.expires_at_ms)


def _may_go(walk: Walk, step: str, channel: str, expires_at_ms: int, *, promotional: bool) -> bool:
    """Whether nothing forbids the step to reach the customer; log what does."""
    draft, products = walk.draft, walk.enrollment.products
    if draft.now_ms > expires_at_ms:
        refuse(draft, walk.enrollment, step, channel, reason=Refusal.EXPIRED)
        return False
    if promotional and products:
        owned_for = draft.journeys.shop.owned_for
        if all(is_owned(one, draft.orders, owned_for, draft.now_ms) for one in products):
            skus = ", ".join(product.sku for product in products)
            reason = Refusal.ALREADY_OWNED
            refuse(draft, walk.enrollment, step, channel, reason=reason, detail=skus)
            return False
    return True


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
