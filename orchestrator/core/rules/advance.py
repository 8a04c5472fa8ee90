"""One enrollment on its way: from a step to the next wait, or to the end.

`enroll` starts a `Walk` at the first step, `decide` goes on with one when a wait has come due.
A way round always contains a wait that stops the walk, which `catalog/paths` proves of every
journey, so that a walk takes each step at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from orchestrator.core.command import CommandClass, CommandType
from orchestrator.core.condition import Failed, is_empty, plain
from orchestrator.core.customer import SENT_MAX, Enrollment, OpenCommand
from orchestrator.core.decision import EndReason, Moved, Refusal, SendRefused
from orchestrator.core.journey import STEPS_MAX
from orchestrator.core.profile import is_owned
from orchestrator.core.rules.draft import Draft, Instruction
from orchestrator.core.rules.ending import complete, end
from orchestrator.core.rules.waiting import over_at_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.journey import Arm, Audience, Send, Step, Task, Variable, Wait
    from orchestrator.core.journeys import Plan

# A walk takes each step at most once; what runs longer has not passed `check`.
STEPS_PER_WALK_MAX: Final = STEPS_MAX
# A way round may send faster than its messages expire. The oldest one is then let go: an exit
# does not cancel it any more, but the fence still holds it back.
OPEN_COMMANDS_MAX: Final = 64
# The step name of a message that an exit sends; it belongs to no step of the journey.
FAREWELL_STEP: Final = "exit"


def start(draft: Draft, plan: Plan, enrollment: Enrollment) -> None:
    """Run a new enrollment from its first step; its messages are due now."""
    Walk(draft, plan, enrollment, due_ms=draft.now_ms).run(0)


def go_on(draft: Draft, enrollment: Enrollment) -> None:
    """Run an enrollment whose wait has come due; its messages were due when the wait was."""
    plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
    if plan is None:
        end(draft, enrollment, EndReason.VERSION_GONE, fenced=True)
        return
    position = plan.positions.get(enrollment.step or "")
    if position is None:
        end(draft, enrollment, EndReason.STEP_GONE, fenced=plan.promotional)
        return
    due_ms = enrollment.wake_at_ms if enrollment.wake_at_ms is not None else draft.now_ms
    Walk(draft, plan, enrollment, due_ms=due_ms).run_after(position)


def lead(draft: Draft, plan: Plan, enrollment: Enrollment, name: str) -> None:
    """Let an enrollment go on with a step, because what it waited for has happened."""
    walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms)
    walk.run(plan.positions.get(name, len(plan.journey.steps)))


def send_farewell(draft: Draft, enrollment: Enrollment, send: Send, *, kind: CommandClass) -> None:
    """Send the last message of an exit. It is about what happened, so it is never promotional."""
    command_class = send.command_class or kind
    if command_class is CommandClass.PROMOTIONAL:
        command_class = CommandClass.SERVICE
    values = template_variables(draft, enrollment, send.variables)
    if isinstance(values, Failed):
        reason, detail = Refusal.MISSING_VARIABLE, values.detail
        refuse(draft, enrollment, FAREWELL_STEP, send.channel, reason=reason, detail=detail)
        return
    expires_at_ms = draft.expires_at_ms(command_class, draft.now_ms, send.expires_after)
    draft.emit(
        enrollment,
        Instruction(
            type=CommandType.MESSAGE_SEND,
            step=FAREWELL_STEP,
            channel=send.channel,
            command_class=command_class,
            expires_at_ms=expires_at_ms,
            delivery=send.delivery or "at_least_once",
            template=send.template,
            variables=values,
        ),
    )


class Walk:
    """The steps one enrollment takes in one decision, with what they have emitted so far."""

    __slots__ = ("draft", "due_ms", "enrollment", "open_commands", "plan", "sent", "visits")

    def __init__(self, draft: Draft, plan: Plan, enrollment: Enrollment, *, due_ms: int) -> None:
        self.draft: Final = draft
        self.plan: Final = plan
        self.enrollment: Final = enrollment
        self.due_ms: Final = due_ms
        self.open_commands = list(enrollment.open_commands)
        self.visits = dict(enrollment.visits)
        self.sent = enrollment.sent

    def run(self, position: int) -> None:
        """Take steps from `position` until a wait, the end, or a step that fails."""
        steps = self.plan.journey.steps
        for _ in range(STEPS_PER_WALK_MAX + 1):  # The last round finds only the end.
            if position >= len(steps):
                complete(self.draft, self._taken(), step=None, label=None)
                return
            step = steps[position]
            if step.end is not None:
                complete(self.draft, self._taken(), step=step.id, label=step.end)
                return
            following = (
                self._take(step, position)
                if step.wait is None
                else self._wait(step, position, step.wait)
            )
            if following is None:
                return
            if isinstance(following, Failed):
                self._fail(step.id, following)
                return
            position = following
        self._fail(steps[position].id, Failed(f"took more than {STEPS_PER_WALK_MAX} steps"))

    def run_after(self, position: int) -> None:
        """Take steps from where the step at `position` leads."""
        step = self.plan.journey.steps[position]
        following = self._after(step, position)
        if isinstance(following, Failed):
            self._fail(step.id, following)
        else:
            self.run(following)

    def _after(self, step: Step, position: int) -> int | Failed:
        """Return where `next` leads, or the step below."""
        return position + 1 if step.next is None else self._position(step.next)

    def _take(self, step: Step, position: int) -> int | Failed:
        failed: Failed | None = None
        if step.branch is not None:
            arm = self._arm(step.branch)
            if isinstance(arm, Failed):
                return arm
            if arm is not None:
                return self._position(arm.next)
        elif step.send is not None:
            failed = self._send(step.id, step.send)
        elif step.task is not None:
            failed = self._task(step.id, step.task)
        elif step.audience is not None:
            self._audience(step.id, step.audience)
        elif step.go_to is not None:
            return self._position(step.go_to)
        return failed or self._after(step, position)

    def _position(self, name: str) -> int | Failed:
        position = self.plan.positions.get(name)
        return Failed(f"there is no step {name!r}") if position is None else position

    def _arm(self, arms: tuple[Arm, ...]) -> Arm | Failed | None:
        """Return the first arm whose condition is true; None leads to the step below."""
        for arm in arms:
            holds = self.draft.scope.holds(arm.when, self.enrollment)
            if isinstance(holds, Failed):
                return holds
            if holds:
                return arm
        return None

    def _send(self, step: str, send: Send) -> Failed | None:
        command_class = send.command_class or self.plan.journey.kind
        promotional = command_class is CommandClass.PROMOTIONAL
        expires_at_ms = self.draft.expires_at_ms(command_class, self.due_ms, send.expires_after)
        if not self._may_go(step, send.channel, expires_at_ms, promotional=promotional):
            return None
        variables = self._variables(step, send)
        if variables is None or isinstance(variables, Failed):
            return variables
        self._emit(
            "message",
            Instruction(
                type=CommandType.MESSAGE_SEND,
                step=step,
                channel=send.channel,
                command_class=command_class,
                expires_at_ms=expires_at_ms,
                delivery=send.delivery or ("at_most_once" if promotional else "at_least_once"),
                visit=self._visit(step),
                template=send.template,
                variables=variables,
            ),
        )
        return None

    def _task(self, step: str, task: Task) -> Failed | None:
        command_class = self.plan.journey.kind
        expires_at_ms = self.draft.expires_at_ms(command_class, self.due_ms, task.expires_after)
        if not self._may_go(step, task.channel, expires_at_ms, promotional=self.plan.promotional):
            return None
        variables = self._variables(step, task)
        if variables is None or isinstance(variables, Failed):
            return variables
        self._emit(
            "task",
            Instruction(
                type=CommandType.TASK_CREATE,
                step=step,
                channel=task.channel,
                command_class=command_class,
                expires_at_ms=expires_at_ms,
                visit=self._visit(step),
                template=task.template,
                variables=variables,
            ),
        )
        return None

    def _audience(self, step: str, audience: Audience) -> None:
        command_class = self.plan.journey.kind
        adds = audience.add is not None
        since_ms = self.due_ms if adds else self.draft.now_ms  # It is never too late to remove.
        expires_at_ms = self.draft.expires_at_ms(command_class, since_ms)
        promotional = adds and self.plan.promotional
        if not self._may_go(step, audience.channel, expires_at_ms, promotional=promotional):
            return
        name = audience.add if adds else audience.remove
        instruction = Instruction(
            type=CommandType.AUDIENCE_ADD if adds else CommandType.AUDIENCE_REMOVE,
            step=step,
            channel=audience.channel,
            command_class=command_class,
            expires_at_ms=expires_at_ms,
            visit=self._visit(step),
            note=name or "",
            audience=name,
        )
        place = (audience.channel, name)
        # Who is added again is still in it once.
        self.open_commands = [
            command
            for command in self.open_commands
            if command.kind != "audience" or (command.channel, command.audience) != place
        ]
        if adds:
            self._emit("audience", instruction)
        else:
            self.draft.emit(self.enrollment, instruction)

    def _may_go(self, step: str, channel: str, expires_at_ms: int, *, promotional: bool) -> bool:
        """Whether nothing forbids the step to reach the customer; log what does."""
        draft, products = self.draft, self.enrollment.products
        if draft.now_ms > expires_at_ms:
            refuse(draft, self.enrollment, step, channel, reason=Refusal.EXPIRED)
            return False
        if promotional and products:
            owned_for = draft.journeys.shop.owned_for
            if all(is_owned(one, draft.orders, owned_for, draft.now_ms) for one in products):
                skus = ", ".join(product.sku for product in products)
                reason = Refusal.ALREADY_OWNED
                refuse(draft, self.enrollment, step, channel, reason=reason, detail=skus)
                return False
        return True

    def _variables(self, step: str, word: Send | Task) -> dict[str, Any] | Failed | None:
        """Return the values of a template; None when one is missing, which is logged."""
        values = template_variables(self.draft, self.enrollment, word.variables)
        if isinstance(values, Failed) and values.missing:
            reason, detail = Refusal.MISSING_VARIABLE, values.detail
            refuse(self.draft, self.enrollment, step, word.channel, reason=reason, detail=detail)
            return None
        return values

    def _visit(self, step: str) -> int:
        visit = self.visits.get(step, 0) + 1
        self.visits[step] = visit
        return visit

    def _emit(self, kind: str, instruction: Instruction) -> None:
        command = self.draft.emit(self.enrollment, instruction)
        if self.plan.follows_messages and kind == "message":
            self.sent = (*self.sent, command.id)[-SENT_MAX:]
        self.open_commands.append(
            OpenCommand(
                id=command.id,
                kind=kind,
                channel=command.channel,
                command_class=command.command_class.value,
                step=command.step,
                sequence=command.sequence,
                expires_at_ms=command.expires_at_ms,
                audience=command.audience,
            )
        )
        if len(self.open_commands) > OPEN_COMMANDS_MAX:
            oldest = min(self.open_commands, key=lambda one: (one.kind == "audience", one.sequence))
            self.open_commands.remove(oldest)

    def _wait(self, step: Step, position: int, wait: Wait) -> int | Failed | None:
        """Stay here, which is None, or return where a wait leads that is over already."""
        draft = self.draft
        for arm in wait.until:
            if arm.event is None and draft.scope.holds(arm.when, self.enrollment) is True:
                return self._position(arm.next)
        wake_at_ms = over_at_ms(draft, self.plan, self.enrollment, wait)
        if isinstance(wake_at_ms, Failed):
            return wake_at_ms
        if wake_at_ms <= draft.now_ms:
            return self._after(step, position)
        draft.put(self._taken(step.id, wake_at_ms))
        draft.log(Moved(enrollment=self.enrollment.id, step=step.id, wake_at_ms=wake_at_ms))
        return None

    def _fail(self, step: str, failed: Failed) -> None:
        taken, fenced = self._taken(step), self.plan.promotional
        end(self.draft, taken, EndReason.STEP_FAILED, fenced=fenced, detail=failed.detail)

    def _taken(self, step: str | None = None, wake_at_ms: int | None = None) -> Enrollment:
        """Return the enrollment with everything this walk did."""
        expiries = (command.expires_at_ms for command in self.open_commands)
        return replace(
            self.enrollment,
            step=step,
            wake_at_ms=wake_at_ms,
            visits=self.visits,
            open_commands=tuple(self.open_commands),
            sent=self.sent,
            longest_expires_at_ms=max(self.enrollment.longest_expires_at_ms, *expiries, 0),
        )


def template_variables(
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
