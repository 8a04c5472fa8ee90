"""Every test of the worker gets a deployment of its own on the shared broker."""

import pytest

from tests.runtime.deployment import Deployment


@pytest.fixture
def deployment(kafka, topic_prefix, app_id, tmp_path):
    """A deployment with no worker yet."""
    one = Deployment(kafka.bootstrap_servers, topic_prefix, app_id, tmp_path)
    yield one
    one.stop()
