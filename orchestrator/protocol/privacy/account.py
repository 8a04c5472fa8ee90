"""A customer's state as a document that a person can read: what `orchestrator export` hands out.

Field by field, so that what a later release adds to the state is a decision here too. Times are
RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.core.customer import NO_KIN
from orchestrator.core.offers.ledger import became, is_open
from orchestrator.core.rules.erasure import is_forgotten
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.customer import (
        AnsweredHours,
        Customer,
        Enrollment,
        OpenCommand,
        Order,
        Response,
    )


def account_of(customer: Customer, now_ms: int) -> dict[str, Any]:
    """Return everything that the state says of a customer, as plain JSON values."""
    contact = customer.contact
    return {
        "status": "erased" if is_forgotten(customer) else "known",
        "erased_at": None if customer.erased is None else rfc3339(customer.erased.at_ms),
        "commands": customer.sequence,
        "merged_into": customer.merged_into,
        "ids": {name: rfc3339(at_ms) for name, at_ms in sorted(customer.absorbed.items())},
        "profile": {
            name: {
                "value": held.value,
                "time": rfc3339(held.time_ms),
                "source": held.source,
                "event": held.id,
            }
            for name, held in sorted(customer.attributes.items())
        },
        "consents": [
            {
                "channel": name.partition("/")[0],
                "class": name.partition("/")[2],
                "granted": held.granted,
                "time": rfc3339(held.time_ms),
                "source": held.source,
                "event": held.id,
            }
            for name, held in sorted(contact.consents.items())
        ],
        "orders": [_order(one) for one in customer.orders],
        "enrollments": [_enrollment(one) for one in customer.enrollments],
        "promises": {
            name: {
                "promised": rfc3339(one.granted_ms),
                "until": rfc3339(one.expires_at_ms),
                "open": is_open(one, now_ms),
                "became": became(one),
                "channel": one.channel,
                "provisional": one.provisional,
                "order": one.order,
            }
            for name, one in sorted(customer.promises.items())
        },
        "reach": _reach(customer),
        "journeys_entered": {
            name: {
                "entries": one.entries,
                "last_entry": rfc3339(one.last_entry_ms),
                "last_end": None if one.last_end_ms is None else rfc3339(one.last_end_ms),
                "keys": [key for key, _ in one.ended_keys],
            }
            for name, one in sorted(customer.memories.items())
        },
        "to_come": {
            name: rfc3339(one.due_ms)
            for name, one in sorted(customer.watches.items())
            if one.due_ms is not None
        },
        "questions_asked": _questions(customer),
        "remembered_events": [
            {"type": one.type, "time": rfc3339(one.time_ms), "data": dict(one.data)}
            for one in customer.exits
        ],
    }


def _reach(customer: Customer) -> dict[str, Any]:
    contact = customer.contact
    return {
        "unreachable_since": {name: rfc3339(at) for name, at in contact.bounced.items()},
        **_learned(customer.hours, contact.responses),
        "under_other_ids": {
            name: {"until": rfc3339(one.as_of_ms), **_learned(one.hours, one.responses)}
            for name, one in sorted((customer.kin or NO_KIN).habits.items())
        },
        "talking_until": rfc3339(contact.talking_until_ms) if contact.talking_until_ms else None,
        "counted_messages": [
            {"command": one.id, "time": rfc3339(one.time_ms), "channel": one.channel}
            for one in contact.sends
        ],
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "time": rfc3339(order.time_ms),
        "cancelled": order.cancelled,
        "items": [
            {
                "sku": line.product.sku,
                "family": line.product.family,
                "category": line.product.category,
                "quantity": line.quantity,
                "returned": line.returned,
            }
            for line in order.lines
        ],
    }


def _enrollment(one: Enrollment) -> dict[str, Any]:
    return {
        "enrollment": one.id,
        "journey": one.journey,
        "version": one.version,
        "entered": rfc3339(one.entered_at_ms),
        "step": one.step,
        "due": None if one.wake_at_ms is None else rfc3339(one.wake_at_ms),
        "about": [product.sku for product in one.products],
        "trigger": dict(one.trigger),
        "not_final": [_open(command) for command in one.open_commands],
    }


def _open(command: OpenCommand) -> dict[str, Any]:
    return {
        "command": command.id,
        "kind": command.kind,
        "channel": command.channel,
        "step": command.step,
        "expires_at": rfc3339(command.expires_at_ms),
        "claimed_by": command.claimed_by,
    }


def _questions(customer: Customer) -> dict[str, list[str]]:
    """Return the messages that have asked for an attribute: one under each id at the most."""
    asked = sorted({*customer.asked.items(), *(customer.kin or NO_KIN).asked})
    return {
        attribute: [message for name, message in asked if name == attribute]
        for attribute, _ in asked
    }


def _learned(
    hours: AnsweredHours | None, responses: Mapping[str, Response]
) -> dict[str, dict[str, Any] | None]:
    """Return what was learned under one id: how they respond by channel, and in which hours."""
    return {
        "responses": {
            name: {"score": one.score, "day": rfc3339(one.day * 86_400_000)[:10]}
            for name, one in sorted(responses.items())
        },
        "hours": None if hours is None else _hours(hours.counts),
    }


def _hours(counts: bytes) -> dict[str, int]:
    """Return the hours of the day in which the customer responds, those that count."""
    weights = [int.from_bytes(counts[at : at + 2], "big") for at in range(0, len(counts), 2)]
    return {f"{hour:02}": weight for hour, weight in enumerate(weights) if weight}
