"""The rules of five channel teams, as teams without a shared view write and run them.

Each is sensible alone. The waits are those of the shop's own journeys, so that the two worlds
differ in who knows what, not in how eager they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.demo.judge.evidence import Kind
from orchestrator.demo.silos.tool import Send, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class EmailTeam(Tool):
    """Newsletter, sale, carts and looks; writes only to who agreed to e-mail.

    Every new subscriber is greeted with 10 %: the loyalty programme is another team's database.
    """

    channel = "email"

    def __init__(self) -> None:
        super().__init__()
        self._agreed: set[str] = set()
        self._looked: set[str] = set()

    def rules(self, event: Mapping[str, Any], at: float) -> Iterator[Send]:
        """Yield letters."""
        customer, data = event["subject"], event["data"]
        if event["type"] == "consent.updated" and data["channel"] == self.channel:
            (self._agreed.add if data["granted"] else self._agreed.discard)(customer)
        if customer not in self._agreed:
            return
        match event["type"]:
            case "newsletter.subscribed":
                yield self.send(event, "silos_welcome_10")
            case "campaign.started":
                yield self.send(event, "silos_sale_mail")
                self.after("7d", at, self.send(event, "silos_sale_half_time"))
            case "cart.abandoned":
                self.after("1h", at, self.send(event, "silos_cart_mail", about=True))
            case "product.viewed" if customer not in self._looked:
                self._looked.add(customer)
                self.after("24h", at, self.send(event, "silos_seen_mail", about=True))
            case "profile.updated" if data["attributes"].get("lifecycle") == "lapsed":
                yield self.send(event, "silos_come_back")
            case _:
                pass


class PushTeam(Tool):
    """Reminds of carts too, and gives the shipping for free to who hesitates for a day.

    Who has the app and lets it notify has agreed, as the team sees it: the phone asked them.
    """

    channel = "push"

    def __init__(self) -> None:
        super().__init__()
        self._phones: set[str] = set()

    def rules(self, event: Mapping[str, Any], at: float) -> Iterator[Send]:
        """Yield notifications."""
        if event["type"] == "profile.updated" and "push_token" in event["data"]["attributes"]:
            self._phones.add(event["subject"])
        if event["subject"] not in self._phones:
            return
        match event["type"]:
            case "campaign.started":
                yield self.send(event, "silos_sale_push")
            case "cart.abandoned":
                self.after("1h", at, self.send(event, "silos_cart_push", about=True))
                self.after("24h", at, self.send(event, "silos_free_shipping", about=True))
            case _:
                pass


class WebTeam(Tool):
    """Shows an overlay with 15 % to who moves to leave with a full cart, once per visitor."""

    channel = "web"

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def rules(self, event: Mapping[str, Any], at: float) -> Iterator[Send]:  # noqa: ARG002 - at once.
        """Yield overlays."""
        if event["type"] == "cart.updated" and event["subject"] not in self._shown:
            self._shown.add(event["subject"])
            yield self.send(event, "silos_exit_overlay", about=True)


class WhatsappTeam(Tool):
    """Follows up carts on the next day, with 5 € off, for whom it has a number.

    The numbers come from the address book of the shop; what was agreed to is not in it.
    """

    channel = "whatsapp"

    def __init__(self) -> None:
        super().__init__()
        self._numbers_known: set[str] = set()

    def rules(self, event: Mapping[str, Any], at: float) -> Iterator[Send]:
        """Yield nothing at once."""
        if event["type"] == "profile.updated" and "phone" in event["data"]["attributes"]:
            self._numbers_known.add(event["subject"])
        if event["type"] == "cart.abandoned" and event["subject"] in self._numbers_known:
            self.after("24h", at, self.send(event, "silos_cart_whatsapp", about=True))
        yield from ()


class AdsTeam(Tool):
    """Keeps audiences: carts and looks by the pixel on the site, the sale by an uploaded list.

    The pixel asks the consent banner; the list is an export of addresses and asks nobody. Buyers
    are taken out by the nightly sync.
    """

    channel = "ads"

    def __init__(self) -> None:
        super().__init__()
        self._agreed: set[str] = set()
        self._members: dict[tuple[str, str], Send] = {}

    def rules(self, event: Mapping[str, Any], at: float) -> Iterator[Send]:  # noqa: ARG002 - at once.
        """Yield additions."""
        customer, data = event["subject"], event["data"]
        if event["type"] == "consent.updated" and data["channel"] == self.channel:
            (self._agreed.add if data["granted"] else self._agreed.discard)(customer)
        match event["type"]:
            case "campaign.started":
                added = self.send(event, "winter_sale", Kind.ADDED)
            case "cart.abandoned" if customer in self._agreed:
                added = self.send(event, "cart_abandoners", Kind.ADDED, about=True)
            case "product.viewed" if customer in self._agreed:
                added = self.send(event, "lookers", Kind.ADDED, about=True)
            case _:
                return
        if self._members.setdefault((customer, added.name), added) is added:
            yield added

    def nightly(self) -> list[Send]:
        """Return the removal of everybody whose purchase the nightly import has shown."""
        gone = [where for where, added in self._members.items() if self.knows_bought(added)]
        return [
            replace(added, id=f"{added.id}-removed", kind=Kind.REMOVED)
            for added in (self._members.pop(where) for where in gone)
        ]


TEAMS: Final = (EmailTeam, PushTeam, WebTeam, WhatsappTeam, AdsTeam)
