"""Every test of the sender gets a channel of its own on the shared broker."""

import pytest

from tests.sender.channel import Channel


@pytest.fixture
def channel(kafka, topic_prefix):
    """The topics of a channel, with nothing on them."""
    return Channel(kafka.bootstrap_servers, topic_prefix).create()
