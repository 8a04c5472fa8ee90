"""Every test of the API gets a deployment of its own on the shared broker, with one worker."""

import pytest

from tests.api.process import TOKENS, ApiProcess
from tests.runtime.deployment import Deployment


@pytest.fixture
def deployment(kafka, topic_prefix, app_id, tmp_path):
    """A deployment with no worker yet."""
    one = Deployment(kafka.bootstrap_servers, topic_prefix, app_id, tmp_path)
    yield one
    one.stop()


@pytest.fixture
def running(deployment):
    """A deployment with a worker, and an API that has caught up."""
    deployment.start()
    api = ApiProcess(deployment, TOKENS)
    api.start()
    yield deployment, api
    api.stop()
