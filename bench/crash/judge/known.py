"""What the topics say of one customer up to a decision, without asking what it means.

`laws` keeps one of each customer, and unites those of ids that become one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.kin import moved
from bench.crash.judge.offering import named_in
from bench.crash.judge.permission import ARRIVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.crash.judge.person import Occurrence
    from bench.crash.judge.promises import Offers
    from bench.crash.judge.records import CommandLine

BOUGHT_MAX: Final = 8
"""So many orders are looked at when something advertises; exits of longer ago may be forgotten."""
PROFILES: Final = frozenset({"profile.updated", "profile.identified"})


@dataclass(frozen=True, slots=True)
class Run:
    """One customer in one journey: since when by the event, and what it is about."""

    entry_ms: int
    skus: set[str]
    journey: Mapping[str, Any]


@dataclass(slots=True)
class Message:
    """One message that went out, and what its sender said of it."""

    command: CommandLine
    at_ms: int
    expires_at_ms: int
    reached_ms: int | None = None
    gone: bool = False
    """Cancelled, or reported dropped, before it had reached anybody."""
    failed: bool = False
    enrollment: str = ""
    """Under which name the enrollment goes on that has sent it."""

    def counts(self, per_ms: int, now_ms: int) -> bool:
        """Whether it is in the window that ends now; what is on its way counts as of now."""
        if self.gone:
            return False
        if self.reached_ms is not None:
            return self.reached_ms > now_ms - per_ms
        return self.at_ms > now_ms - per_ms or self.expires_at_ms >= now_ms


@dataclass(slots=True)
class Known:
    """What the topics say of one customer up to a decision."""

    messages: dict[str, Message] = field(default_factory=dict)
    consents: dict[tuple[str, str], tuple[tuple[int, bool, str, str], bool]] = field(
        default_factory=dict
    )
    zone: tuple[tuple[int, str, str], Any] = ((-1, "", ""), None)
    promises: dict[str, int] = field(default_factory=dict)
    """Open promises, and until when they hold."""
    until: dict[str, int] = field(default_factory=dict)
    """The same of all that were ever made: a return opens them again."""
    made_ms: dict[str, int] = field(default_factory=dict)
    over_ms: dict[str, int] = field(default_factory=dict)
    """When the last promise of an offer was redeemed or taken back, where it was."""
    runs: dict[str, Run] = field(default_factory=dict)
    bought: list[tuple[int, set[str]]] = field(default_factory=list)
    """When the newest orders were placed, and what was in them."""
    goods: set[str] = field(default_factory=set)
    """Everything that was ever bought, and its families."""

    def hear(self, event: Occurrence, now_ms: int) -> None:
        """Take an event in."""
        version = (event.time_ms, event.source, event.id)
        if event.type == "consent.updated":
            granted = event.data["granted"] is True
            key = (event.data["channel"], event.data["class"])
            said = (event.time_ms, not granted, event.source, event.id)
            if key not in self.consents or self.consents[key][0] < said:
                self.consents[key] = (said, granted)
        elif event.type in PROFILES and "zone" in event.data.get("attributes", {}):
            if self.zone[0] < version:
                self.zone = (version, event.data["attributes"]["zone"])
        elif event.type.startswith("message."):
            self._report(event, min(event.time_ms, now_ms))
        elif event.type == "offer.rejected":
            # Who was asked elsewhere has said no all the same, and nobody logs that.
            self.over_ms[event.data["offer"]] = now_ms
        elif event.type == "purchase":
            if not event.backfill:
                skus = {item["sku"] for item in event.data["items"]}
                self.bought.append((min(event.time_ms, now_ms), skus))
                self.bought = sorted(self.bought, key=lambda one: one[0])[-BOUGHT_MAX:]
            for item in event.data["items"]:
                self.goods |= {item["sku"], item.get("family", item["sku"])}

    def redeem_history(self, event: Occurrence, offers: Offers, now_ms: int) -> None:
        """Let an order among history use up what it names; nobody logs that."""
        codes = {one.get("code"): name for name, one in offers.items()}
        for word in named_in(event.data):
            name, at_ms = codes.get(word, word), min(event.time_ms, now_ms)
            if at_ms >= self.made_ms.get(name, now_ms + 1):
                self.promises.pop(name, None)
            self.over_ms[name] = max(at_ms, self.over_ms.get(name, -1))

    def close(self, name: str, at_ms: int) -> None:
        """Let a promise be over."""
        self.promises.pop(name, None)
        self.over_ms[name] = at_ms

    def unredeem(self, name: str, now_ms: int) -> None:
        """Let nobody have used a promise up any more, under no id; and yet it is not open.

        One that would still hold stands against what was promised meanwhile: it is forgotten.
        """
        self.over_ms.pop(name, None)
        if self.until.get(name, 0) > now_ms:
            self.made_ms.pop(name, None)
            self.until.pop(name, None)

    def enter(self, enrollment: str, event: Occurrence, journey: Mapping[str, Any]) -> None:
        """Note who came in, and what it is about that they have not bought yet."""
        about = event.data.get("items") or [event.data]
        skus = {
            one["sku"]
            for one in about
            if "sku" in one and not {one["sku"], one.get("family", one["sku"])} & self.goods
        }
        self.runs[enrollment] = Run(event.time_ms, skus, journey)

    def rename(self, enrollment: str, becomes: str | None) -> None:
        """Let an enrollment go on under another name."""
        run = self.runs.pop(enrollment, None)
        if run is not None and becomes is not None:
            self.runs[becomes] = run
        for message in self.messages.values():
            if message.enrollment == enrollment:
                message.enrollment = becomes or enrollment

    def bought_since(self, enrollment: str) -> bool:
        """Whether a purchase by any of the ids should have ended an enrollment by now."""
        run = self.runs.get(enrollment)
        exits = [] if run is None else run.journey.get("exits", ())
        return any(
            run is not None
            and at_ms >= run.entry_ms
            and any(
                one["on"] == "purchase" and ("when" not in one or skus & run.skus) for one in exits
            )
            for at_ms, skus in self.bought
        )

    def unite(self, came: Known, customer: str, now_ms: int) -> None:
        """Take in what the topics say of this id, which this customer has absorbed."""
        for message in came.messages.values():
            message.enrollment = moved(message.enrollment, customer)
        self.messages = {**came.messages, **self.messages}
        for key, word in came.consents.items():
            mine = self.consents.get(key, word)
            # A no under either id is a no, whenever it was said.
            self.consents[key] = max(mine, word, key=lambda said: (not said[1], said[0]))
        self.zone = max(self.zone, came.zone, key=lambda said: said[0])
        self.runs |= {moved(name, customer): run for name, run in came.runs.items()}
        self.bought = sorted(self.bought + came.bought, key=lambda one: one[0])[-BOUGHT_MAX:]
        self.goods |= came.goods
        for name in {**self.until, **came.until, **self.over_ms, **came.over_ms}:
            self._unite_promise(name, came, now_ms)

    def _unite_promise(self, name: str, came: Known, now_ms: int) -> None:
        """Let the newest grant count, and the newest end: what is over under one id, is over."""
        both = [one for one in (self, came) if name in one.until]
        over_ms = max(
            (one.over_ms[name] for one in (self, came) if name in one.over_ms), default=-1
        )
        self.promises.pop(name, None)
        if both:
            newest = max(both, key=lambda one: (one.made_ms[name], one.until[name]))
            self.made_ms[name], self.until[name] = newest.made_ms[name], newest.until[name]
            if over_ms < self.made_ms[name] and self.until[name] > now_ms:
                self.promises[name] = self.until[name]
        if over_ms >= 0:
            self.over_ms[name] = over_ms

    def _report(self, event: Occurrence, at_ms: int) -> None:
        message = self.messages.get(event.data["command_id"])
        if message is None:
            return
        if event.type in ARRIVED:
            if message.reached_ms is None:
                # Senders hand nothing over that has expired, whenever somebody opens it.
                reached_ms = min(at_ms, message.expires_at_ms)
                message.reached_ms, message.gone = max(message.at_ms, reached_ms), False
            return
        # A sender that does not know takes back nothing that another report has said.
        message.failed = message.failed or event.data.get("reason") != "unknown"
        if event.type == "message.dropped":
            message.gone = message.reached_ms is None

    def cancel(self, ids: Iterator[str]) -> None:
        """Let messages be taken back."""
        for name in ids:
            message = self.messages.get(name)
            if message is not None:
                message.gone = message.reached_ms is None
