"""Bugs planted where ids become one customer, and where somebody is forgotten.

`defects` plants them in a worker, `tests/crash` in decisions without a broker. Beside each stands
the kind of violation that the judge has to report of it.
"""

# A bug is planted where it hurts, by a name of its own, and only in the process that shall have it.
# ruff: noqa: PLC0415, D401, SLF001

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Put = Callable[[Any, str, Any], None]


def _both_go_on(put: Put) -> None:
    """Two enrollments in one journey go on when their ids are one."""
    from orchestrator.core.identity import joining

    put(joining, "_end_the_nearer", lambda *_: None)


def _bought_by_the_other(put: Put) -> None:
    """What was bought under the other id ends nothing."""
    from orchestrator.core.identity import joining

    put(joining, "_end_exited", lambda *_: None)


def _left_behind(put: Put) -> None:
    """Knowledge travels, enrollments do not."""
    from msgspec.structs import replace

    from orchestrator.core.identity import handing

    leaving = handing._leaving
    put(handing, "_leaving", lambda draft, _: replace(leaving(draft, ()), enrollments=()))


def _waits_anew(put: Put) -> None:
    """Who comes from another id waits five seconds longer."""
    from msgspec.structs import replace

    from orchestrator.core.identity import handing

    hand_over = handing._hand_over

    def slow(draft: Any, enrollment: Any) -> Any:
        gone = hand_over(draft, enrollment)
        if gone is None or gone.wake_at_ms is None:
            return gone
        return replace(gone, wake_at_ms=gone.wake_at_ms + 5_000)

    put(handing, "_hand_over", slow)


def _not_recalled(put: Put) -> None:
    """Promotions of the absorbed id stay on their way."""
    from orchestrator.core.identity import handing

    put(handing, "_is_recalled", lambda _: False)


def _late_events_dropped(put: Put) -> None:
    """What comes for an absorbed id is forgotten."""
    from orchestrator.protocol.commit.group import OpenGroup

    put(OpenGroup, "_send_on", lambda *_: None)


def _sent_on_twice(put: Put) -> None:
    """What comes for an absorbed id goes on twice."""
    from orchestrator.protocol.commit.group import OpenGroup

    send_on = OpenGroup._send_on

    def twice(self: Any, intake: Any, event: Any, survivor: bytes) -> None:
        send_on(self, intake, event, survivor)
        send_on(self, intake, event, survivor)

    put(OpenGroup, "_send_on", twice)


def _notices_dropped(put: Put) -> None:
    """What owners tell an absorbed id does not go on."""
    from orchestrator.protocol.commit.group import OpenGroup

    put(OpenGroup, "_send_notice_on", lambda *_: None)


def _events_decide(put: Put) -> None:
    """Which id stays is what the event says, not what the ids are."""
    from orchestrator.core.identity.ids import Identities, Pair

    put(Identities, "pair", lambda _, one, other: Pair(one, other))


def _round_and_round(put: Put) -> None:
    """The same, and nothing counts how often a record was sent on: cycles turn."""
    from orchestrator.protocol.commit import group

    _events_decide(put)
    put(group, "HOPS_MAX", 60)


def _seen_forgotten(put: Put) -> None:
    """What the absorbed id has seen is new to the survivor."""
    from orchestrator.core.identity import merge

    put(merge, "_seen", lambda one, _: (one.seen, one.seen_times))


def _survivor_knows_better(put: Put) -> None:
    """Of an attribute the survivor's own value stays, however old."""
    from orchestrator.core.identity import merge

    greatest = merge._greatest

    def own_first(one: Any, other: Any, order: Any) -> Any:
        return {**other, **one} if order is merge._attribute else greatest(one, other, order)

    put(merge, "_greatest", own_first)


def _newest_consent(put: Put) -> None:
    """Of two words on consent the yes stands."""
    from orchestrator.core.identity import merge

    put(merge, "_strictness", lambda said: (said.granted, said.time_ms, said.source, said.id))


def _two_promises(put: Put) -> None:
    """Promises of two ids stand beside each other, also when they contradict each other."""
    from orchestrator.core.identity import joining

    put(joining, "_settle_promises", lambda _: None)


def _held_for_good(put: Put) -> None:
    """Who is held by a pause that ends while they are on their way stays held, as it was once."""
    from orchestrator.core import decide

    settle = decide._go_on_where_paused

    def only_own(draft: Any) -> None:
        if draft.cause is None:
            settle(draft)

    put(decide, "_go_on_where_paused", only_own)


def _addresses_kept(put: Put) -> None:
    """An id that is absorbed or erased keeps its claims of addresses."""
    from orchestrator.core.identity import handing
    from orchestrator.core.rules import erasure

    put(handing, "release", lambda _: None)
    put(erasure, "release", lambda _: None)


def _numbers_begin_anew(put: Put) -> None:
    """The commands of who was erased are numbered from one again."""
    from msgspec.structs import replace

    from orchestrator.core.rules import erasure

    marker = erasure._marker
    put(erasure, "_marker", lambda *of: replace(marker(*of), sequence=0))


def _consent_outlives(put: Put) -> None:
    """Who was erased has still agreed."""
    from msgspec.structs import replace

    from orchestrator.core.rules import erasure

    marker = erasure._marker
    put(erasure, "_marker", lambda of, fence: replace(marker(of, fence), contact=of.contact))


def _profile_outlives(put: Put) -> None:
    """The profile of who was erased stays."""
    from msgspec.structs import replace

    from orchestrator.core.rules import erasure

    marker = erasure._marker
    put(erasure, "_marker", lambda of, fence: replace(marker(of, fence), attributes=of.attributes))


def _late_events_count(put: Put) -> None:
    """What happened before an erasure, and comes after it, begins a life."""
    from orchestrator.core import decide

    put(decide, "after_erasure", lambda *_: None)


def _erased_comes_back(put: Put) -> None:
    """A merge brings back who was erased."""
    from orchestrator.core import decide

    put(decide, "is_forbidden", lambda *_: False)


def _numbers_used_twice(put: Put) -> None:
    """The enrollments of a new life have the names of those of the one before."""
    from orchestrator.core.rules import erasure

    put(erasure, "_last_ordinal", lambda _: 0)


IDENTITY_DEFECTS: Final[Mapping[str, tuple[Callable[[Put], None], str]]] = {
    "both-go-on": (_both_go_on, "doubled"),
    "bought-by-the-other": (_bought_by_the_other, "promotional"),
    "left-behind": (_left_behind, "lost"),
    "waits-anew": (_waits_anew, "wait"),
    "not-recalled": (_not_recalled, "lost"),
    "late-events-dropped": (_late_events_dropped, "lost"),
    "sent-on-twice": (_sent_on_twice, "doubled"),
    "notices-dropped": (_notices_dropped, "lost"),
    "events-decide": (_events_decide, "identity"),
    "round-and-round": (_round_and_round, "hops"),
    "seen-forgotten": (_seen_forgotten, "doubled"),
    "survivor-knows-better": (_survivor_knows_better, "state"),
    "newest-consent": (_newest_consent, "consent"),
    "two-promises": (_two_promises, "promise"),
    "held-for-good": (_held_for_good, "lost"),
    "addresses-kept": (_addresses_kept, "lost"),
    "numbers-begin-anew": (_numbers_begin_anew, "gap"),
    "consent-outlives": (_consent_outlives, "consent"),
    "profile-outlives": (_profile_outlives, "state"),
    "late-events-count": (_late_events_count, "erased"),
    "erased-comes-back": (_erased_comes_back, "erased"),
    "numbers-used-twice": (_numbers_used_twice, "wrong"),
}
