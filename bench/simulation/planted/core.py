"""Bugs of the core: exits that come too late, ids that collide, what is forgotten or not forgotten.

Those of the guard, of offers and of pauses are the ones of the crash run; `bench/crash` has them.
"""

# A bug is planted where it hurts, by a name of its own.
# ruff: noqa: D401, SLF001

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from bench.crash.guard_defects import GUARD_DEFECTS
from orchestrator.core import decide
from orchestrator.core.identity import handing, joining, merge
from orchestrator.core.identity.ids import Identities, Pair
from orchestrator.core.rules import draft, ending, enroll, erasure, exits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Put = Callable[[Any, str, Any], None]


def _no_dedupe(put: Put) -> None:
    """A repeat is a new event."""
    put(decide, "seen_before", lambda *_: decide.Seen.NEW)
    put(decide, "business_known", lambda *_: False)


def _ids_by_chance(put: Put) -> None:
    """The id of a command depends on when it is derived."""
    numbers = count()
    derived = draft.command_id
    put(draft, "command_id", lambda *words: f"{derived(*words)[:-6]}{next(numbers):06x}")


def _colliding_ids(put: Put) -> None:
    """The id of a command leaves out which enrollment and which cause it belongs to."""

    def short(customer: str, enrollment: str, cause: Any, instruction: Any) -> str:
        del cause
        name = enrollment.partition("#")[0].partition("/")[0]
        return f"{customer}-{name}-{instruction.step}-{instruction.type}"

    put(draft, "command_id", short)


def _no_exit_in_a_wait(put: Put) -> None:
    """A purchase is ignored while a run waits, as some of the market do."""
    end = decide.end_by_event

    def lazy(one: Any, event: Any, occurred_ms: int) -> None:
        standing = one.enrollments
        one.enrollments = tuple(each for each in standing if each.step is None)
        end(one, event, occurred_ms)
        waiting = tuple(each for each in standing if each.step is not None)
        one.enrollments = waiting + one.enrollments

    put(decide, "end_by_event", lazy)


def _one_exit_only(put: Put) -> None:
    """A purchase ends the first enrollment that it matches, and leaves the others."""
    end = exits._exit_if_matching

    def first(one: Any, plan: Any, enrollment: Any, event_type: str) -> None:
        if not any(type(entry).__name__ == "Ended" for entry in one.entries):
            end(one, plan, enrollment, event_type)

    put(exits, "_exit_if_matching", first)


def _exits_not_remembered(put: Put) -> None:
    """An entry that is learned after its exit enters."""
    put(enroll, "exited_later", lambda *_: None)


def _not_recalled(put: Put) -> None:
    """What is on its way when its enrollment ends is left there."""
    put(ending, "recall", lambda *_, **__: None)


def _numbers_by_decision(put: Put) -> None:
    """Two commands of one decision get one number."""
    emit = draft.Draft.emit

    def once(self: Any, *words: Any, **named: Any) -> Any:
        if len(self.commands) == 1:
            self.sequence -= 1
        return emit(self, *words, **named)

    put(draft.Draft, "emit", once)


def _time_goes_back(put: Put) -> None:
    """A customer's now is the event's own time."""
    inner = decide._decide_event

    def own(journeys: Any, customer: Any, event: Any, now_ms: int) -> Any:
        return inner(journeys, customer, event, min(event.time_ms, now_ms))

    put(decide, "_decide_event", own)


def _times_enter_twice(put: Put) -> None:
    """A wait that is over wakes all others as well."""
    timer = decide._decide_timer

    def all_of_them(journeys: Any, customer: Any, now_ms: int) -> Any:
        waking = [one.wake_at_ms for one in customer.enrollments if one.wake_at_ms is not None]
        return timer(journeys, customer, max([now_ms, *waking]))

    put(decide, "_decide_timer", all_of_them)


def _reborn_with_one(put: Put) -> None:
    """Who comes back after an erasure begins to count anew."""
    marker = erasure._marker
    put(erasure, "_marker", lambda *words: replace(marker(*words), sequence=0))


def _erased_but_kept(put: Put) -> None:
    """An erasure leaves the orders."""
    marker = erasure._marker
    put(
        erasure,
        "_marker",
        lambda customer, fence: replace(
            marker(customer, fence), orders=customer.orders, seen=customer.seen
        ),
    )


def _past_counts_after_erasure(put: Put) -> None:
    """What is older than an erasure and comes later counts."""
    put(decide, "after_erasure", lambda *_: None)


def _erased_goes_on(put: Put) -> None:
    """An erasure ends nothing: what waits goes on with the numbers of the marker."""
    marker = erasure._marker
    put(erasure, "_end", lambda *_: None)
    put(
        erasure,
        "_marker",
        lambda customer, fence: replace(marker(customer, fence), enrollments=customer.enrollments),
    )


def _takes_nothing_over(put: Put) -> None:
    """What was known is united, enrollments are not."""

    def take_over(one: Any, moved: Any) -> None:
        joining._unite(one, moved.state)
        one.log(joining.Absorbed(moved.state.id))

    put(decide, "take_over", take_over)


def _other_exits_do_not_count(put: Put) -> None:
    """A purchase by the other id ends nothing."""
    put(joining, "_end_exited", lambda *_: None)


def _not_recalled_at_a_merge(put: Put) -> None:
    """Promotions on their way under an id that is absorbed are not cancelled."""
    put(handing, "_is_recalled", lambda _: False)


def _cancels_go_home(put: Put) -> None:
    """What takes a message back stands where the survivor is at home, not where the message is."""
    emit = draft.Draft.emit

    def at_home(self: Any, enrollment: Any, instruction: Any) -> Any:
        return emit(self, enrollment, replace(instruction, sent_under=None))

    put(draft.Draft, "emit", at_home)


def _fences_stay(put: Put) -> None:
    """The fences of an id that was absorbed are never taken back."""
    take_back = handing.take_back_fences
    put(decide, "take_back_fences", lambda *words: replace(take_back(*words), fence=None))


def _merge_forgets_events(put: Put) -> None:
    """What the other id has had may have its effect again."""
    put(merge, "_seen", lambda one, _: (one.seen, b""))


def _twice_in_a_journey(put: Put) -> None:
    """Two ids in one journey are in it twice as one."""
    put(joining, "_end_the_nearer", lambda *_: None)


def _events_decide_who_stays(put: Put) -> None:
    """Which id stays is what the event says, not the order of ids."""
    put(Identities, "pair", lambda _, one, other: Pair(one, other))


def _absorbed_counts_anew(put: Put) -> None:
    """The pointer that an absorbed id leaves begins to count anew."""
    customer = handing.Customer
    put(handing, "Customer", lambda **fields: customer(**{**fields, "sequence": 0}))


OWN: Final[Mapping[str, Callable[[Put], None]]] = {
    "no-dedupe": _no_dedupe,
    "ids-by-chance": _ids_by_chance,
    "colliding-ids": _colliding_ids,
    "no-exit-in-a-wait": _no_exit_in_a_wait,
    "one-exit-only": _one_exit_only,
    "exits-not-remembered": _exits_not_remembered,
    "not-recalled": _not_recalled,
    "numbers-by-decision": _numbers_by_decision,
    "time-goes-back": _time_goes_back,
    "all-waits-at-once": _times_enter_twice,
    "reborn-with-one": _reborn_with_one,
    "erased-but-kept": _erased_but_kept,
    "past-counts-after-erasure": _past_counts_after_erasure,
    "erased-goes-on": _erased_goes_on,
    "takes-nothing-over": _takes_nothing_over,
    "other-exits-do-not-count": _other_exits_do_not_count,
    "not-recalled-at-a-merge": _not_recalled_at_a_merge,
    "cancels-go-home": _cancels_go_home,
    "fences-stay": _fences_stay,
    "merge-forgets-events": _merge_forgets_events,
    "twice-in-a-journey": _twice_in_a_journey,
    "events-decide-who-stays": _events_decide_who_stays,
    "absorbed-counts-anew": _absorbed_counts_anew,
}
# What of the guard a few customers in one minute meet often enough.
OF_THE_GUARD: Final = (
    "caps-ignored",
    "consent-by-default",
    "night-of-the-server",
    "morning-unchecked",
    "promises-contradict",
    "recalled-but-promised",
    "on-every-channel",
    "impatient",
    "confirmations-ask-consent",
    "deaf-to-pauses",
    "resume-forgets",
    "resume-goes-on",
)
CORE: Final[Mapping[str, Callable[[Put], None]]] = {
    **OWN,
    **{name: GUARD_DEFECTS[name][0] for name in OF_THE_GUARD},
}
