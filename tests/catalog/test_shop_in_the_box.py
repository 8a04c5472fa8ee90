"""The journeys that come with the repository, and the hash that names a content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.catalog import load, read
from orchestrator.core.command import CommandClass
from orchestrator.core.journeys import Journeys

JOURNEYS = Path(__file__).parents[2] / "journeys"


def test_the_shop_in_the_box_has_no_finding() -> None:
    assert read(JOURNEYS).findings == ()
    assert {one.name for one in load(JOURNEYS, "live").current} >= {
        "browse_abandonment",
        "cart_abandonment",
        "post_purchase",
        "welcome",
        "winback",
        "winter_sale",
    }


def test_the_shop_in_the_box_declares_the_channels_of_the_contract() -> None:
    expected = {"email", "sms", "push", "whatsapp", "voice", "chat", "web"}
    channels = load(JOURNEYS, "test").channels

    assert {name for name, one in channels.items() if one.kind == "message"} == expected
    assert {name for name, one in channels.items() if one.kind == "audience"} == {"ads"}
    assert {name for name, one in channels.items() if one.kind == "task"} == {"callcenter"}


def test_every_promotion_of_the_shop_ends_with_a_purchase() -> None:
    """Those about a product end with a purchase of that product, the others with any."""
    for journey in load(JOURNEYS, "test").current:
        if journey.kind is not CommandClass.PROMOTIONAL:
            continue
        conditions = [one.when for one in journey.exits if one.on == "purchase"]
        assert len(conditions) == 1
        about_products = journey.entry.about is not None
        assert (conditions[0] is not None) == about_products
        assert conditions[0] is None or "enrollment.skus" in conditions[0].source


def _copy(target: Path) -> Path:
    shutil.copytree(JOURNEYS, target)
    return target


def test_the_content_hash_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    loaded = load(JOURNEYS, "test")
    turned = Journeys(
        loaded.shop,
        dict(reversed(loaded.channels.items())),
        reversed(list(loaded.versions.values())),
        "live",
        loaded.templates,
        offers={terms.name: terms.offer for terms in reversed(list(loaded.offers))},
    )

    assert len(loaded.content_hash) == 64
    assert turned.content_hash == loaded.content_hash
    assert load(_copy(tmp_path / "elsewhere"), "test").content_hash == loaded.content_hash


@pytest.mark.parametrize(
    ("file", "written", "instead"),
    [
        ("welcome.yaml", "priority: 40", "priority: 41"),
        ("welcome.yaml", "wait: 7d", "wait: 8d"),
        (
            "winter_sale.yaml",
            "      offer: winter_sale\n    next: second_week",
            "    next: second_week",
        ),
        ("offers.yaml", "percent_off: 10", "percent_off: 11"),
        ("offers.yaml", "until: 2026-11-30", "until: 2026-11-29"),
        ("welcome.yaml", "expires_after: 30d", "expires_after: 31d"),
        ("templates/push/bestsellers.yaml", "What others carry", "What others wear"),
        ("welcome.yaml", "on: message.unsubscribed", "on: message.bounced"),
        ("welcome.yaml", 'profile.stage == "loyal"', 'profile.stage == "customer"'),
        ("shop.yaml", "default: 180d", "default: 181d"),
        ("channels.yaml", "address_ref: profile.chat_id", "address_ref: profile.chat"),
    ],
)
def test_the_content_hash_changes_with_any_content(
    tmp_path: Path, file: str, written: str, instead: str
) -> None:
    folder = _copy(tmp_path / "changed")
    text = (folder / file).read_text()
    assert written in text
    (folder / file).write_text(text.replace(written, instead))

    assert load(folder, "test").content_hash != load(JOURNEYS, "test").content_hash


def test_the_content_hash_ignores_comments_and_the_way_of_writing(tmp_path: Path) -> None:
    folder = _copy(tmp_path / "changed")
    text = (folder / "welcome.yaml").read_text()
    (folder / "welcome.yaml").write_text(text.replace("wait: 7d", "wait: P7D  # A week."))

    assert load(folder, "test").content_hash == load(JOURNEYS, "test").content_hash
