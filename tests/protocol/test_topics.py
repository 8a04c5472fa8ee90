"""The list of topics, without a broker."""

from orchestrator.protocol.topics import Topics
from orchestrator.settings import Settings


def test_forwarded_records_are_stamped_by_the_broker_so_that_no_workers_clock_moves_waits():
    topics = Topics.of(Settings.load(), {})
    (forward,) = [topic for topic in topics.all if topic.name == topics.forward]

    assert forward.config["message.timestamp.type"] == "LogAppendTime"
