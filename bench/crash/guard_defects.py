"""Bugs planted between a step and the customer: each breaks one promise of the guard or of offers.

`defects` plants them in a worker, `tests/crash` in decisions without a broker. Beside each stands
the kind of violation that the judge has to report of it.
"""

# A bug is planted where it hurts, by a name of its own, and only in the process that shall have it.
# ruff: noqa: PLC0415, D401

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Put = Callable[[Any, str, Any], None]


def _caps_ignored(put: Put) -> None:
    """Nobody asks the caps."""
    from orchestrator.core.rules.guard import checks

    put(checks, "cap_reached", lambda *_: False)


def _caps_of_the_calendar(put: Put) -> None:
    """A cap counts by the clock, not back from now.

    What 23:00 and 00:01 are for days, here the last and the first second of 20 are.
    """
    from orchestrator.core.rules.guard import checks

    reached = checks.cap_reached

    def by_the_clock(contact: Any, cap: Any, about: Any, now_ms: int) -> bool:
        from msgspec.structs import replace

        begin_ms = now_ms - now_ms % cap.per
        kept = tuple(one for one in contact.sends if one.time_ms >= begin_ms)
        return bool(reached(replace(contact, sends=kept), cap, about, now_ms))

    put(checks, "cap_reached", by_the_clock)


def _all_without_caps(put: Put) -> None:
    """A message on all channels does not count itself, as it did not once."""
    from orchestrator.core.rules.guard import checks

    capped = checks._capped  # noqa: SLF001
    put(
        checks,
        "_capped",
        lambda draft, enrollment, attempt, _=(): capped(draft, enrollment, attempt),
    )


def _consent_by_default(put: Put) -> None:
    """Who has said nothing has agreed."""
    from orchestrator.core.rules.guard import checks

    consented = checks.consented
    put(checks, "consented", lambda *words: consented(*words) is not False)


def _night_of_the_server(put: Put) -> None:
    """Quiet hours are asked of the wrong clock."""
    from orchestrator.core.rules.guard import checks

    minute = checks.minute_of_day
    put(checks, "minute_of_day", lambda now_ms, zone: (minute(now_ms, zone) + 60) % 1_440)


def _morning_unchecked(put: Put) -> None:
    """What the night has held goes out in the morning without a second look at consent and caps."""
    from orchestrator.core.rules.guard import checks

    asked = checks.ask_guard

    def trusting(walk: Any, attempt: Any, beside: Any = ()) -> Any:
        if walk.enrollment.held == checks.Hold.QUIET_HOURS:
            return checks.Verdict.GO
        return asked(walk, attempt, beside)

    from orchestrator.core.rules import reach

    put(reach, "ask_guard", trusting)


def _promises_contradict(put: Put) -> None:
    """A second discount is promised beside the first."""
    from orchestrator.core.offers import promises

    put(promises, "contradicted", lambda *_: None)


def _return_unchecked(put: Put) -> None:
    """What a return opens again stands beside what was promised meanwhile."""
    from orchestrator.core.offers import outcomes

    put(outcomes, "contradicted", lambda *_: None)


def _recalled_but_promised(put: Put) -> None:
    """A promise outlives the messages that alone have told it, and holds the next one up."""
    from orchestrator.core.rules import ending

    put(ending, "_take_back", lambda *_: None)


def _recalled_for_good(put: Put) -> None:
    """What arrived although it was recalled counts for nothing."""
    from orchestrator.core.offers import outcomes

    put(outcomes, "restore", lambda *_: False)


def _arrived_unchecked(put: Put) -> None:
    """What arrived although it was recalled stands beside what was promised meanwhile."""
    from orchestrator.core.offers import outcomes, promises

    restore, asked = promises.restore, promises.contradicted

    def unasked(draft: Any, name: str, promise: Any) -> bool:
        put(promises, "contradicted", lambda *_: None)
        try:
            return bool(restore(draft, name, promise))
        finally:
            put(promises, "contradicted", asked)

    put(outcomes, "restore", unasked)


def _first_message_only(put: Put) -> None:
    """A promise knows the first message only that has told it."""
    from orchestrator.core.offers import promises

    told = promises.grant

    def once(draft: Any, name: str, promise: Any, *, command: str | None = None) -> None:
        if draft.promises.get(name) is not promise:
            told(draft, name, promise, command=command)

    put(promises, "grant", once)


def _orders_tell_nothing(put: Put) -> None:
    """What an order has named may still be taken back as never told, as it was once."""
    from orchestrator.core.offers import outcomes

    put(outcomes, "_redeem", _keeping_tellers(outcomes))


def _keeping_tellers(outcomes: Any) -> Callable[..., None]:
    redeem = outcomes._redeem  # noqa: SLF001

    def forgetful(draft: Any, *about: Any) -> None:
        from msgspec.structs import replace

        before = draft.promises
        redeem(draft, *about)
        after = {
            name: replace(one, command=before[name].command, also=before[name].also)
            if name in before
            else one
            for name, one in draft.promises.items()
        }
        draft.change_promises(after)

    return forgetful


def _greeted_in_runs_only(put: Put) -> None:
    """Who asked on a page, and turns out to be loyal, hears nothing."""
    from orchestrator.core.rules import reach

    put(reach, "greet", lambda *_, **__: None)


def _greeted_without_caps(put: Put) -> None:
    """A greeting in the name of an offer asks no caps, as it did not once."""
    from orchestrator.core.rules import reach

    may = reach.may_say_instead

    def leave(draft: Any, enrollment: Any, attempt: Any) -> bool:
        ask = reach.may_say_farewell if enrollment.journey == reach.OFFER_JOURNEY else may
        return bool(ask(draft, enrollment, attempt))

    put(reach, "may_say_instead", leave)


def _best_hour_of_the_shop(put: Put) -> None:
    """The best hour keeps the shop's quiet hours, whatever the next message's channel says."""
    from orchestrator.core.rules import waiting

    put(waiting, "quiet_after", lambda draft, *_: [draft.journeys.shop.quiet_hours])


def _best_hour_unexplained(put: Put) -> None:
    """The log says which hour it is, but not why: what was named counts as learned."""
    from orchestrator.core.rules.learning import hours

    put(hours, "NAMED", hours.LEARNED)


def _on_every_channel(put: Put) -> None:
    """A message that may take several channels takes them all."""
    from orchestrator.core.rules import reach

    put(reach, "_to_one", reach._to_all)  # noqa: SLF001


def _impatient(put: Put) -> None:
    """The next channel is tried as soon as the message has expired, with nobody waited for."""
    from orchestrator.core.rules import reach

    put(reach, "GRACE_MS", 1)


def _confirmations_ask_consent(put: Put) -> None:
    """An order confirmation is treated as advertising."""
    from orchestrator.core.command import CommandClass
    from orchestrator.core.rules.guard import checks

    unreachable = checks.unreachable
    service = CommandClass.PROMOTIONAL
    put(checks, "unreachable", lambda draft, channel, _: unreachable(draft, channel, service))


def _deaf_to_pauses(put: Put) -> None:
    """Nobody asks what is paused."""
    from orchestrator.core.pauses import Pauses

    put(Pauses, "of", lambda *_, **__: None)


def _resume_forgets(put: Put) -> None:
    """A resume looks at nobody; who is held stands until everything has expired."""
    from orchestrator.core import decide

    nothing = decide._nothing  # noqa: SLF001
    put(
        decide,
        "_decide_resumed",
        lambda _, customer, now_ms: nothing(decide.Outcome.APPLIED, customer, now_ms),
    )


def _resume_goes_on(put: Put) -> None:
    """A resume lets people go on behind the step at which they were held."""
    from orchestrator.core import decide

    step = decide.go_on

    def past(draft: Any, enrollment: Any) -> None:
        from orchestrator.core.rules.advance import Walk

        plan = draft.journeys.plans[enrollment.journey, enrollment.version]
        if draft.event is None and enrollment.held == "paused":
            walk = Walk(draft, plan, enrollment, due_ms=draft.now_ms)
            walk.run_after(plan.positions[enrollment.step])
        else:
            step(draft, enrollment)

    put(decide, "go_on", past)


GUARD_DEFECTS: Final[Mapping[str, tuple[Callable[[Put], None], str]]] = {
    "caps-ignored": (_caps_ignored, "cap"),
    "caps-of-the-calendar": (_caps_of_the_calendar, "cap"),
    "all-without-caps": (_all_without_caps, "cap"),
    "consent-by-default": (_consent_by_default, "consent"),
    "night-of-the-server": (_night_of_the_server, "quiet"),
    "morning-unchecked": (_morning_unchecked, "cap"),
    "promises-contradict": (_promises_contradict, "promise"),
    "return-unchecked": (_return_unchecked, "promise"),
    "recalled-but-promised": (_recalled_but_promised, "lost"),
    "recalled-for-good": (_recalled_for_good, "lost"),
    "arrived-unchecked": (_arrived_unchecked, "promise"),
    "first-message-only": (_first_message_only, "doubled"),
    "orders-tell-nothing": (_orders_tell_nothing, "state"),
    "greeted-in-runs-only": (_greeted_in_runs_only, "lost"),
    "greeted-without-caps": (_greeted_without_caps, "cap"),
    "best-hour-of-the-shop": (_best_hour_of_the_shop, "lost"),
    "best-hour-unexplained": (_best_hour_unexplained, "lost"),
    "on-every-channel": (_on_every_channel, "twice"),
    "impatient": (_impatient, "twice"),
    "confirmations-ask-consent": (_confirmations_ask_consent, "lane"),
    "deaf-to-pauses": (_deaf_to_pauses, "pause"),
    "resume-forgets": (_resume_forgets, "held"),
    "resume-goes-on": (_resume_goes_on, "held"),
}
