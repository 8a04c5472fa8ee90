"""May this go out? The judge's own idea of the guard, by the words of docs/guard.md alone.

A `Permission` belongs to one person. `reference` tells it what happens and asks it before each step
that reaches somebody. It knows the words that the crash shop uses: consent, dead addresses, caps,
spacing, and that a person talks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.crash.judge.records import duration_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.crash.judge.person import Occurrence

Config = Mapping[str, Any]
# What stops a step: ("silent", channel, reason, 0) for good, ("held", channel, reason, until) for
# a while, ("contends", channel, "", expiry) until the other promotions of the turn are known.
Stop = tuple[str, str, str, int]
ARRIVED = frozenset(("message.delivered", "message.opened"))
GRACE_MS = 300_000
"""So long after its expiry a message may still be reported as delivered."""
DAY_MS = 86_400_000
HALVED_DAYS = 35
"""What a response says of a channel fades to half in five weeks."""


@dataclass(slots=True)
class Counted:
    """A message that caps count; `place` finds it before its id is known."""

    place: tuple[str, str, str]
    id: str | None
    at_ms: int
    channel: str
    command_class: str
    journey: str
    expires_at_ms: int | None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """What a step wants to do."""

    kind: str
    channel: str
    command_class: str
    journey: str
    expires_at_ms: int
    offer: str | None = None

    @property
    def promotional(self) -> bool:
        """Whether it advertises."""
        return self.command_class == "promotional"


@dataclass(slots=True)
class Permission:
    """What is known of one person that may keep messages from them."""

    consents: dict[tuple[str, str], tuple[tuple[int, bool, str, str], bool]] = field(
        default_factory=dict
    )
    dead: dict[str, int] = field(default_factory=dict)
    counted: list[Counted] = field(default_factory=list)
    talking_until_ms: int = 0
    promoted_ms: int = 0
    opened_days: dict[str, list[int]] = field(default_factory=dict)
    """The days on which messages of a channel were opened."""

    def liked(self, channel: str, now_ms: int) -> float:
        """Return how much the customer responds on a channel."""
        days = sorted(self.opened_days.get(channel, ()))
        return sum(0.5 ** (max(0, now_ms // DAY_MS - day) / HALVED_DAYS) for day in days)

    def learn(self, event: Occurrence, now_ms: int, shop: Config, channel: str | None) -> None:
        """Take an event in; `channel` is that of the message which it reports on, when known."""
        occurred_ms = min(event.time_ms, now_ms)
        if event.type == "consent.updated":
            data = event.data
            granted = data["granted"] is True
            key, version = (
                (data["channel"], data["class"]),
                (event.time_ms, not granted, event.source, event.id),
            )
            if key not in self.consents or self.consents[key][0] < version:
                self.consents[key] = (version, granted)
        elif event.type == "message.bounced" and channel is not None:
            self.dead[channel] = max(self.dead.get(channel, -1), event.time_ms)
        elif event.type == "handoff.started":
            until_ms = occurred_ms + duration_ms(shop["handoff_timeout"])
            if until_ms > max(now_ms, self.talking_until_ms):
                self.talking_until_ms = until_ms
        elif event.type == "handoff.ended":
            self.talking_until_ms = 0
        elif event.type == "message.dropped":
            self.forget([event.data["command_id"]])
        if event.type == "message.opened" and channel is not None:
            self.opened_days.setdefault(channel, []).append(occurred_ms // DAY_MS)
        if event.type in ARRIVED:
            for one in self.counted:
                open_or_not = one.expires_at_ms is not None or not one.counts
                if one.id == event.data["command_id"] and open_or_not:
                    latest_ms = occurred_ms if one.expires_at_ms is None else one.expires_at_ms
                    one.at_ms = max(one.at_ms, min(occurred_ms, latest_ms))
                    one.expires_at_ms, one.counts = None, True

    def forget(self, commands: Iterable[str]) -> None:
        """Let cancelled and dropped messages count no more."""
        gone = set(commands)
        for one in self.counted:
            if one.id in gone and one.expires_at_ms is not None:
                one.counts = False

    def unreachable(
        self, channel: str, command_class: str, channels: Config, known_ms: Callable[[str], int]
    ) -> str | None:
        """Return why nobody may write there; `known_ms` says how old a profile's word is."""
        if command_class == "transactional":
            return None
        declared = channels[channel]
        dead_ms = self.dead.get(channel)
        address = declared.get("address_ref", "").removeprefix("profile.")
        if dead_ms is not None and known_ms(address) <= dead_ms:
            return "suppressed"
        granted = self.consents.get((channel, command_class), (None, None))[1]
        if declared.get("needs_consent", True) and not (
            granted or (granted is None and command_class == "service")
        ):
            return "no_consent"
        return None

    def stops(
        self,
        wish: Wish,
        now_ms: int,
        shop: Config,
        *,
        first: bool,
        going: Iterable[Wish],
        quiet_until_ms: int | None,
    ) -> Stop | None:
        """Return what stops a message whose receiver can be reached.

        `first` in its decision; `going` says the same on other channels at once.
        """
        channel = wish.channel
        if wish.promotional and self.talking_until_ms > now_ms:
            return "held", channel, "handoff", self.talking_until_ms
        if self.capped(wish, now_ms, shop, going):
            return "silent", channel, "frequency_cap", 0
        if quiet_until_ms is not None:
            return "held", channel, "quiet_hours", quiet_until_ms
        until_ms = self.promoted_ms + duration_ms(shop.get("spacing", "0s"))
        if wish.promotional and first and until_ms > now_ms:
            return "held", channel, "spacing", until_ms
        return None

    def capped(self, wish: Wish, now_ms: int, shop: Config, going: Iterable[Wish] = ()) -> bool:
        """Whether one more would be more than a cap allows."""
        return any(
            _concerns(cap, wish)
            and self._within(cap, now_ms) + sum(_concerns(cap, one) for one in going) >= cap["max"]
            for cap in shop.get("caps", ())
        )

    def went_out(self, wish: Wish, place: tuple[str, str, str], now_ms: int, shop: Config) -> None:
        """Count a message that goes out."""
        caps = shop.get("caps", ())
        if any(_concerns(cap, wish) for cap in caps):
            longest_ms = max(duration_ms(cap["per"]) for cap in caps)
            self.counted = [
                one
                for one in self.counted
                if max(one.at_ms, one.expires_at_ms or 0) > now_ms - longest_ms
            ]
            about = (wish.channel, wish.command_class, wish.journey, wish.expires_at_ms)
            self.counted.append(Counted(place, None, now_ms, *about))
        if wish.promotional:
            self.promoted_ms = now_ms

    def name(self, place: tuple[str, str, str], command: str) -> None:
        """Give the message that went out at this place its id."""
        for one in self.counted:
            if one.id is None and one.place == place:
                one.id = command
                return

    def _within(self, cap: Config, now_ms: int) -> int:
        from_ms = now_ms - duration_ms(cap["per"])
        return sum(
            one.counts and (one.at_ms > from_ms or (one.expires_at_ms or 0) >= now_ms)
            for one in self.counted
            if _concerns(cap, one)
        )


def _concerns(cap: Config, one: Wish | Counted) -> bool:
    return (
        cap.get("class", "promotional") == one.command_class
        and cap.get("channel", one.channel) == one.channel
        and cap.get("journey", one.journey) == one.journey
    )
