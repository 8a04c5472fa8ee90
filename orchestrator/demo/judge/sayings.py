"""What templates come to, for the judge: which ones say the same thing, and which promise what.

The one table of the demo for it, for the shop's own templates and for those of the silos. What a
command of the shop promises it says itself, by its offer; the silos' discounts stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WELCOME: Final = "welcome, you are new"
YOUR_CART: Final = "you left a cart"
YOUR_LOOK: Final = "you looked at this"
SALE_OPENS: Final = "the winter sale opens"
HALF_TIME: Final = "half-time in the winter sale"
MISSING_YOU: Final = "we miss you"
WINTER_SALE: Final = "20 % off"


@dataclass(frozen=True, slots=True)
class Saying:
    """What a customer takes from a message: its subject, and the discount that it promises."""

    subject: str
    offer: str | None = None


SAYINGS: Final = {
    # The shop's own. A template without a line here is a subject of its own.
    "welcome": Saying(WELCOME),
    "cart_reminder": Saying(YOUR_CART),
    "cart_still_there": Saying(YOUR_CART),
    "seen_recently": Saying(YOUR_LOOK),
    "seen_recently_card": Saying(YOUR_LOOK),
    "winter_sale_opens": Saying(SALE_OPENS),
    "winter_sale_opens_short": Saying(SALE_OPENS),
    "winter_sale_banner": Saying(SALE_OPENS),
    "winter_sale_half_time": Saying(HALF_TIME),
    "we_miss_you": Saying(MISSING_YOU),
    "we_miss_you_15": Saying(MISSING_YOU),
    # Those of the silos.
    "silos_welcome_10": Saying(WELCOME, "10 % off the first order"),
    "silos_sale_mail": Saying(SALE_OPENS, WINTER_SALE),
    "silos_sale_push": Saying(SALE_OPENS, WINTER_SALE),
    "silos_sale_half_time": Saying(HALF_TIME, WINTER_SALE),
    "silos_cart_mail": Saying(YOUR_CART),
    "silos_cart_push": Saying(YOUR_CART),
    "silos_cart_whatsapp": Saying(YOUR_CART, "5 € off"),
    "silos_free_shipping": Saying("free shipping for your cart", "free shipping"),
    "silos_seen_mail": Saying(YOUR_LOOK),
    "silos_exit_overlay": Saying("do not go yet", "15 % off"),
    "silos_come_back": Saying(MISSING_YOU, "15 % off"),
}


def saying(template: str, offer: str | None = None) -> Saying:
    """Return what a template comes to; `offer` is what the command itself names, if it does."""
    known = SAYINGS.get(template, Saying(template))
    return known if offer is None else Saying(known.subject, offer)
