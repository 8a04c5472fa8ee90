"""One enrollment on its way: from a step to the next wait, to a step that is held, or to the end.

`enroll` starts a `Walk` at the first step, `decide` goes on with one when a wait has come due,
`hearing` when what somebody waits for has happened. What a step does stands in `reach`.
A way round always contains a wait that stops the walk, which `catalog/rules/paths` proves of every
journey, so that a walk takes each step at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.command import CommandClass
from orchestrator.core.customer import SENT_MAX, Enrollment, OpenCommand
from orchestrator.core.decision import Chosen, EndReason, Held, Hold, Moved
from orchestrator.core.expressions.condition import Failed
from orchestrator.core.language.journey import STEPS_MAX
from orchestrator.core.rules import reach
from orchestrator.core.rules.ending import complete, end
from orchestrator.core.rules.guard.checks import Verdict, count
from orchestrator.core.rules.shares import is_held_out, share_of
from orchestrator.core.rules.waiting import over_at

if TYPE_CHECKING:
    from orchestrator.core.journeys import Plan
    from orchestrator.core.language.journey import Step
    from orchestrator.core.language.words import Arm, Holdout, Share, Wait
    from orchestrator.core.offers.promises import Withdrawn
    from orchestrator.core.rules.draft import Draft, Instruction

# A walk takes each step at most once; what runs longer has not passed `check`.
STEPS_PER_WALK_MAX: Final = STEPS_MAX
# A way round may send faster than its messages expire. The oldest one is then let go: an exit
# does not cancel it any more, but the fence still holds it back.
OPEN_COMMANDS_MAX: Final = 64
# The step name of what is said in place of an offer; it belongs to no step of the journey.
OTHERWISE_STEP: Final = "otherwise"
# The label of an enrollment that a holdout ends.
HELD_OUT: Final = "holdout"


def start(draft: Draft, plan: Plan, enrollment: Enrollment) -> None:
    """Run a new enrollment from its first step; its messages are due now."""
    Walk(draft, plan, enrollment, due_ms=draft.now_ms).run(0)


def go_on(draft: Draft, enrollment: Enrollment) -> None:
    """Run an enrollment whose wait has come due; its messages were due when the wait was.

    One that is held takes its step again, as due when it was due first.
    """
    plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
    if plan is None:
        end(draft, enrollment, EndReason.VERSION_GONE, fenced=True)
        return
    position = plan.positions.get(enrollment.step or "")
    if position is None:
        end(draft, enrollment, EndReason.STEP_GONE, fenced=plan.promotional)
        return
    held = enrollment.held is not None
    due_ms = enrollment.due_ms if held else enrollment.wake_at_ms
    walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms if due_ms is None else due_ms)
    if held:
        # The step has not acted yet. Everything is asked again, as of when it was due.
        walk.run(position)
        return
    wait, best = plan.journey.steps[position].wait, enrollment.best_arm
    if wait is not None and best is not None and best < len(wait.until):
        walk.run(plan.positions.get(wait.until[best].next, len(plan.journey.steps)))
    else:
        walk.run_after(position)


def say_otherwise(draft: Draft, withdrawn: Withdrawn) -> None:
    """Tell who turned out not to qualify for an offer what is said in its place, once.

    In the run that had told the offer, while it is there; else, as when a page had asked, in the
    name of the offer.
    """
    (name, offer, *_), promise = withdrawn
    if promise.channel is None or offer.otherwise is None:
        return
    for enrollment in draft.enrollments:
        plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
        if enrollment.id == promise.enrollment and plan is not None:
            walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms)
            reach.send_at_once(walk, OTHERWISE_STEP, offer.otherwise, promise.channel)
            draft.put(walk.standing())
            return
    reach.greet(draft, OTHERWISE_STEP, offer.otherwise, channel=promise.channel, instead_of=name)


def arrive(draft: Draft, enrollment: Enrollment) -> None:
    """Let somebody go on whose message has arrived: no other channel has to be tried."""
    plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
    position = None if plan is None else plan.positions.get(enrollment.step or "")
    if plan is None or position is None:
        go_on(draft, enrollment)  # It says what is gone.
        return
    walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms)
    walk.tried = ()
    walk.run_after(position)


def release(draft: Draft, reason: Hold) -> None:
    """Let everybody go on who is held for a reason that is gone."""
    for enrollment in draft.enrollments:
        if enrollment.held == reason:
            go_on(draft, enrollment)


def lead(draft: Draft, plan: Plan, enrollment: Enrollment, name: str) -> None:
    """Let an enrollment go on with a step, because what it waited for has happened."""
    walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms)
    walk.run(plan.positions.get(name, len(plan.journey.steps)))


class Walk:
    """The steps one enrollment takes in one decision, with what they have emitted so far."""

    __slots__ = (
        "chosen",
        "draft",
        "due_ms",
        "enrollment",
        "last_sent_ms",
        "open_commands",
        "plan",
        "sent",
        "tried",
        "visits",
    )

    def __init__(self, draft: Draft, plan: Plan, enrollment: Enrollment, *, due_ms: int) -> None:
        self.draft: Final = draft
        self.plan: Final = plan
        self.enrollment: Final = enrollment
        self.due_ms: Final = due_ms
        # Whether it has been heard by the arbitration of this decision.
        self.chosen = False
        # The channels on which the step at hand has gone out already.
        self.tried = enrollment.tried
        self.open_commands = list(enrollment.open_commands)
        self.visits = dict(enrollment.visits)
        self.sent = enrollment.sent
        self.last_sent_ms = enrollment.last_sent_ms

    def run(self, position: int) -> None:
        """Take steps from `position` until a wait, the end, or a step that is held or fails."""
        steps = self.plan.journey.steps
        for _ in range(STEPS_PER_WALK_MAX + 1):  # The last round finds only the end.
            if position >= len(steps):
                complete(self.draft, self.taken(), step=None, label=None)
                return
            step = steps[position]
            if step.end is not None:
                complete(self.draft, self.taken(), step=step.id, label=step.end)
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

    def take_chance(self, step: str) -> None:
        """Go on at the step where the arbitration has found this walk."""
        self.chosen = True
        self.run(self.plan.positions[step])

    def stand(self, step: str, *, wake_at_ms: int | None = None, held: Hold | None = None) -> None:
        """Stand at a step that has not acted yet."""
        self.draft.put(self.taken(step, wake_at_ms, held=None if held is None else held.value))

    def await_delivery(self, step: str, command: OpenCommand, until_ms: int) -> None:
        """Stand at a step whose message is out, until it arrives or another channel is tried."""
        self.tried = (*self.tried, command.channel)
        held = Hold.DELIVERY
        taken = self.taken(step, until_ms, held=held.value)
        self.draft.put(replace(taken, awaited=command.id))
        name, channel = self.plan.name, command.channel
        self.draft.log(Held(self.enrollment.id, name, step, channel, held, until_ms))

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

    def _take(self, step: Step, position: int) -> int | Failed | None:
        """Do what a step says; return where it leads, or why it failed, or None to stay or end."""
        done: Failed | Verdict | None = None
        if step.branch is not None:
            arm = self._arm(step.branch)
            if isinstance(arm, Failed):
                return arm
            if arm is not None:
                return self._position(arm.next)
        elif step.go_to is not None:
            return self._position(step.go_to)
        elif step.split is not None:
            return self._split(step.id, step.split)
        elif step.holdout is not None:
            return self._holdout(step, position, step.holdout)
        else:
            done = self._act(step)
        if isinstance(done, Failed):
            return done
        if done in (Verdict.HELD, Verdict.CONTENDS):
            return None
        self.tried = ()
        return self._after(step, position)

    def _act(self, step: Step) -> Failed | Verdict | None:
        if step.send is not None:
            return reach.send(self, step.id, step.send)
        if step.task is not None:
            return reach.task(self, step.id, step.task)
        if step.audience is not None:
            return reach.audience(self, step.id, step.audience)
        if step.set is not None:
            return reach.set_attributes(self, step.id, step.set)
        if step.ask is not None:
            return reach.ask(self, step.id, step.ask)
        if step.emit is not None:
            return reach.tell(self, step.id, step.emit)
        if step.webhook is not None:
            return reach.webhook(self, step.id, step.webhook)
        return Failed("says nothing to do")

    def _split(self, step: str, shares: tuple[Share, ...]) -> int | Failed:
        share = share_of(self.draft.customer.id, self.plan.name, step, shares)
        self.draft.log(Chosen(self.enrollment.id, step, share.next))
        return self._position(share.next)

    def _holdout(self, step: Step, position: int, holdout: Holdout) -> int | Failed | None:
        if not is_held_out(self.draft.customer.id, self.plan.name, holdout):
            return self._after(step, position)
        self.draft.log(Chosen(self.enrollment.id, step.id, holdout.next, held_out=True))
        if holdout.next is not None:
            return self._position(holdout.next)
        complete(self.draft, self.taken(), step=step.id, label=HELD_OUT)
        return None

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

    def visit(self, step: str) -> int:
        """Count a visit of a step; the count goes into the ids of what it emits."""
        visit = self.visits.get(step, 0) + 1
        self.visits[step] = visit
        return visit

    def emit(self, kind: str, instruction: Instruction) -> None:
        """Emit a command that an exit has to recall until it is final."""
        command = self.draft.emit(self.enrollment, instruction)
        if kind == "message":
            count(self.draft, command)
            if command.command_class is CommandClass.PROMOTIONAL:
                self.draft.promoted = self.enrollment.id
        if self.plan.follows_messages and kind == "message":
            self.sent = (*self.sent, command.id)[-SENT_MAX:]
            self.last_sent_ms = self.draft.now_ms
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
                offer=command.offer,
                created_ms=command.time_ms if kind == "task" else None,
            )
        )
        if len(self.open_commands) > OPEN_COMMANDS_MAX:
            oldest = min(self.open_commands, key=lambda one: (one.kind == "audience", one.sequence))
            self.open_commands.remove(oldest)

    def _wait(self, step: Step, position: int, wait: Wait) -> int | Failed | None:
        """Stay here, which is None, or return where a wait leads that is over already."""
        draft, best = self.draft, None
        for index, arm in enumerate(wait.until):
            if arm.event is None and draft.scope.holds(arm.when, self.enrollment) is True:
                if index == 0 or not wait.ranked:
                    return self._position(arm.next)
                best = index
                break
        over = over_at(draft, self.plan, self.enrollment, wait)
        if isinstance(over, Failed):
            return over
        if over.at_ms <= draft.now_ms:
            return self._after(step, position)
        draft.put(self.taken(step.id, over.at_ms, best))
        draft.log(Moved(self.enrollment.id, step.id, over.at_ms, over.why))
        return None

    def _fail(self, step: str, failed: Failed) -> None:
        taken, fenced = self.taken(step), self.plan.promotional
        end(self.draft, taken, EndReason.STEP_FAILED, fenced=fenced, detail=failed.detail)

    def standing(self) -> Enrollment:
        """Return the enrollment where it stood, with what was sent beside its steps."""
        held = self.enrollment
        return replace(
            self.taken(held.step, held.wake_at_ms, held.best_arm, held.held),
            due_ms=held.due_ms,
            awaited=held.awaited,
        )

    def taken(
        self,
        step: str | None = None,
        wake_at_ms: int | None = None,
        best_arm: int | None = None,
        held: str | None = None,
    ) -> Enrollment:
        """Return the enrollment with everything this walk did."""
        expiries = (command.expires_at_ms for command in self.open_commands)
        return replace(
            self.enrollment,
            step=step,
            wake_at_ms=wake_at_ms,
            visits=self.visits,
            open_commands=tuple(self.open_commands),
            sent=self.sent,
            last_sent_ms=self.last_sent_ms,
            best_arm=best_arm,
            held=held,
            due_ms=None if held is None else self.due_ms,
            tried=self.tried,
            awaited=None,
            longest_expires_at_ms=max(self.enrollment.longest_expires_at_ms, *expiries, 0),
        )
