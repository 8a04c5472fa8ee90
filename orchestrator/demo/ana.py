"""What Ana, and the people at the call centre, have before their eyes.

`demo/day` tells it of every command for her and what became of it; the pictures and the report
read the panels. Whatever happens after her purchase is stamped with the time since the purchase.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from orchestrator.timeline.sentences import duration

if TYPE_CHECKING:
    from orchestrator.demo.desk import Command

PANELS: Final = {
    "push": "Ana's phone",
    "email": "Ana's inbox",
    "ads": "Ads she sees",
    "callcenter": "Call-centre card",
}
# What has arrived there, nobody can take back.
FOR_GOOD: Final = frozenset({"email", "sms"})
# What the templates of the shop say, roughly; a template without a line here shows its name.
SAYS: Final = {
    "winter_sale_opens": "The winter sale opens: 20 % off what keeps you warm",
    "winter_sale_opens_short": "The winter sale opens: 20 % off what keeps you warm",
    "winter_sale_half_time": "Half-time in the winter sale",
    "winter_sale_last_day": "Last day of the winter sale",
    "we_miss_you": "We miss you, Ana",
    "we_miss_you_15": "We miss you, Ana: 15 % off",
    "seen_recently": "Still thinking about that tent?",
    "cart_reminder": "Your tent is still in your cart",
    "cart_still_there": "Your cart is still there",
    "thank_you": "Thank you for your order, Ana",
    "order_received": "Order received: two-person tent",
    "care_guide": "How to pitch and care for your tent",
    "winback_call": "Call Ana (gold): away for long",
    "cart_abandoners": "“Your cart misses you”",
    "winter_sale": "“Winter sale”",
    "lapsed_customers": "“Come back to us”",
    # The silos' templates.
    "silos_welcome_10": "Welcome! 10 % off your first order",
    "silos_sale_mail": "Winter sale: 20 % off",
    "silos_sale_push": "Winter sale: 20 % off",
    "silos_sale_half_time": "Half-time in the winter sale: 20 % off",
    "silos_cart_mail": "Your tent is waiting in your cart",
    "silos_cart_push": "Your tent is waiting in your cart",
    "silos_cart_whatsapp": "Your tent is waiting: 5 € off",
    "silos_free_shipping": "Free shipping for your cart",
    "silos_seen_mail": "Still thinking about that tent?",
    "silos_exit_overlay": "Wait! 15 % off if you order now",
    "silos_come_back": "We miss you: 15 % off",
    "lookers": "“The tent you looked at”",
}


class Sight(StrEnum):
    """What a panel shows of one thing."""

    ON_ITS_WAY = "on its way"
    THERE = "there"
    GONE = "gone"  # Was there and is taken away: an ad, a task.
    RECALLED = "recalled"  # Never arrived.


@dataclass(slots=True)
class Entry:
    """One line of a panel. `at` is when it last changed, seconds since opening."""

    channel: str
    text: str
    sight: Sight
    at: float
    id: str
    stamp: str = ""
    note: str = ""
    promotional: bool = False


@dataclass(slots=True)
class Screens:
    """Everything Ana's panels show. `purchase_at` is set when she presses the button."""

    entries: list[Entry] = field(default_factory=list)
    purchase_at: float | None = None

    def panel(self, channel: str) -> list[Entry]:
        """Return the lines of one panel, oldest first."""
        return [entry for entry in self.entries if entry.channel == channel]

    def on_command(self, command: Command, at: float) -> Entry | None:
        """Show what a command for her changes at once; return the line that changed."""
        match command.type:
            case "message.send" | "task.create" | "audience.add":
                says = command.template or command.audience or command.step
                entry = Entry(
                    channel=command.channel,
                    text=SAYS.get(says, says.replace("_", " ")),
                    sight=Sight.ON_ITS_WAY,
                    at=at,
                    id=command.id,
                    stamp=self.stamp(at),
                    promotional=command.promotional,
                )
                self.entries.append(entry)
                return entry
            case "audience.remove":
                says = command.audience or ""
                return self._take_away(command.channel, SAYS.get(says, says), at)
            case _:
                return self._recall(command, at)

    def on_handed_over(self, command: Command, at: float) -> Entry | None:
        """Show that a command has reached her."""
        entry = self._find(command.id)
        if entry is None or entry.sight is not Sight.ON_ITS_WAY:
            return None
        entry.sight = Sight.THERE
        entry.at = at
        entry.stamp = self.stamp(at)
        return entry

    def on_dropped(self, command: Command, reason: str, at: float) -> Entry | None:
        """Show that the sender kept a command back at the last look."""
        entry = self._find(command.id)
        if entry is None:
            return None
        after = self.stamp(at)
        entry.sight = Sight.RECALLED
        entry.note = f"its turn came {after}: {reason}, not sent"
        return entry

    def stamp(self, at: float) -> str:
        """Return a moment as the panels show it."""
        if self.purchase_at is None or at < self.purchase_at:
            return f"{at:.1f} s"
        return "+" + duration(round((at - self.purchase_at) * 1000))

    def _recall(self, command: Command, at: float) -> Entry | None:
        changed = None
        for cancelled in command.cancels:
            entry = self._find(cancelled)
            if entry is None:
                continue
            if entry.sight is Sight.THERE and entry.channel in FOR_GOOD:
                continue
            entry.sight = Sight.RECALLED if entry.sight is Sight.ON_ITS_WAY else Sight.GONE
            entry.at = at
            entry.stamp = self.stamp(at)
            changed = entry
        return changed

    def _take_away(self, channel: str, text: str, at: float) -> Entry | None:
        for entry in reversed(self.entries):
            if entry.channel == channel and entry.text == text and entry.sight is not Sight.GONE:
                entry.sight = Sight.GONE
                entry.at = at
                entry.stamp = self.stamp(at)
                return entry
        return None

    def _find(self, command_id: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.id == command_id), None)


def in_words(entry: Entry) -> str:
    """Return what has changed in a line of a panel, with the markup of the console."""
    words = {
        Sight.ON_ITS_WAY: f"[green]{entry.text}[/]",
        Sight.THERE: f"[green]{entry.text}[/]",
        Sight.GONE: f"{entry.text}: gone",
        Sight.RECALLED: f"[red]{entry.text}: recalled, not sent[/]",
    }
    return f"{entry.stamp} {PANELS.get(entry.channel, entry.channel)}: {words[entry.sight]}"
