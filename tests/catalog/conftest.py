"""A small valid shop in a folder, to be broken in one place at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SHOP = """\
zone: Europe/Madrid
locale: es-ES
events:
  quiz.done: [score]
  survey.filled: []
  purchase: [items.name]
"""

CHANNELS = """\
email: {kind: message, address_ref: profile.email}
push: {kind: message}
ads: {kind: audience}
callcenter: {kind: task}
"""

# The line numbers in the tables of the tests count from `name` as line 1.
CART = """\
name: cart
version: 2
owner: crm@shop.example
kind: promotional
stage: purchase
entry:
  on: cart.abandoned
  when: size(event.data.items) > 0
  key: event.data.cart_id
  about: event.data.items
  reentry: {after: 7d}
exits:
  - on: purchase
    when: event.data.items.exists(i, i.sku in enrollment.skus)
  - on: order.cancelled
    when: event.data.order_id == "x"
    then: {channel: email, template: sorry, class: service}
steps:
  - id: pause
    wait: 1h
  - id: ways
    branch:
      - when: has(profile.push_token)
        next: reminder_push
      - next: reminder_email
  - id: reminder_push
    send: {channel: push, template: cart}
    next: list
  - id: reminder_email
    send:
      channel: email
      template: cart
      variables:
        items: trigger.data.items
        name: {value: profile.name, default: friend}
  - id: list
    audience: {add: cart_people}
  - id: call
    task: {template: cart_call}
  - id: done
    end: reminded
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without a finding."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    (tmp_path / "channels.yaml").write_text(CHANNELS)
    (tmp_path / "cart.yaml").write_text(CART)
    return tmp_path
