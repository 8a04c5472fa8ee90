"""From when on a message counts for caps."""

from __future__ import annotations

import pytest

from orchestrator.core.contact import cap_used, counted, handed_over
from orchestrator.core.customer import Contact, Sent
from orchestrator.core.language.shop import Cap
from tests.core.builders import HOUR

CAP = Cap.model_validate({"max": 3, "per": "1h"})


def sent(name, at_ms, expires_at_ms):
    return Sent(name, at_ms, "email", "promotional", "sale", expires_at_ms)


@pytest.mark.parametrize(
    ("opened_ms", "counts_until_ms"),
    [(5_000, HOUR + 5_000), (10_000, HOUR + 10_000), (20 * HOUR, HOUR + 10_000)],
    ids=["on its way", "as it expires", "long after it has expired"],
)
def test_a_message_that_is_opened_counts_from_when_it_can_have_arrived(opened_ms, counts_until_ms):
    contact = counted(Contact(), sent("m1", 0, 10_000), HOUR, 0)
    contact = handed_over(contact, "m1", opened_ms)

    assert cap_used(contact, CAP, counts_until_ms - 1) == 1
    assert cap_used(contact, CAP, counts_until_ms) == 0


def test_a_message_is_remembered_for_as_long_as_its_arrival_may_count():
    """It may have been handed over as it expired, and somebody may say so late."""
    contact = counted(Contact(), sent("m1", 0, HOUR), HOUR, 0)
    contact = counted(contact, sent("m2", 2 * HOUR - 1, 3 * HOUR), HOUR, 2 * HOUR - 1)
    reported = handed_over(contact, "m1", 2 * HOUR - 1)

    assert [one.id for one in contact.sends] == ["m1", "m2"]
    assert cap_used(contact, CAP, 2 * HOUR - 1) == 1
    assert cap_used(reported, CAP, 2 * HOUR - 1) == 2
    assert cap_used(reported, CAP, 2 * HOUR) == 1
