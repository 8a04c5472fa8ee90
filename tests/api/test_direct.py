"""What is answered before the framework looks is answered as the framework would have it."""

from pathlib import Path

import pytest

from orchestrator.api import application
from orchestrator.api.direct import Direct
from orchestrator.core.customer import Customer
from tests.api.process import READER, SENDER
from tests.api.rig import Rig

JOURNEYS = Path(__file__).parents[2] / "journeys"
PATH = "/v1/customers/ana/next-best"


@pytest.fixture(scope="module")
def rigs(tmp_path_factory):
    """Return the application, and one that leaves every route to the framework."""
    found = []
    for routes in (None, []):
        with pytest.MonkeyPatch.context() as patch:
            if routes is not None:
                patch.setattr(application, "Direct", lambda app, **_: Direct(app, routes=[]))
            rig = Rig(tmp_path_factory.mktemp("store"), journeys=JOURNEYS)
            rig.model.now_ms = lambda: 1_795_348_800_000
            rig.know(Customer("ana"), Customer("ana/maria"))
            # The framework puts its middleware together at the first request.
            rig.application.middleware_stack = rig.application.build_middleware_stack()
        found.append(rig)
    return found


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", PATH, READER, 200),
        ("GET", f"{PATH}?channel=web", READER, 200),
        ("GET", "/v1/customers/nobody/next-best?channel=web", READER, 200),
        ("GET", "/v1/customers/a%C3%B1o/next-best", READER, 200),
        ("GET", f"{PATH}?channel=wep", READER, 422),
        ("GET", f"{PATH}?after=nonsense", READER, 422),
        ("GET", f"/v1/customers/{'x' * 300}/next-best", READER, 422),
        ("GET", PATH, "", 401),
        ("GET", PATH, "wrong", 401),
        ("GET", PATH, SENDER, 403),
        ("POST", PATH, READER, 405),
        ("HEAD", PATH, READER, 405),
        ("GET", f"{PATH}/", READER, 404),
        ("GET", "/v1/customers//next-best", READER, 404),
        ("GET", "/v1/customers/ana%2Fmaria/next-best", READER, 404),
    ],
)
async def test_a_direct_answer_is_the_answer_of_the_framework(rigs, method, path, token, status):
    ours, framework = [await rig.ask(method, path, token=token) for rig in rigs]

    assert ours.status_code == status
    assert (ours.status_code, ours.headers, ours.content) == (
        framework.status_code,
        framework.headers,
        framework.content,
    )


async def test_a_direct_answer_is_counted_by_its_template(rigs):
    labels = {
        "route": "/v1/customers/{customer_id}/next-best",
        "method": "GET",
        "status": "200",
    }

    def counted():
        name = "orchestrator_api_requests_total"
        return [rig.telemetry.registry.get_sample_value(name, labels) or 0 for rig in rigs]

    before = counted()
    for rig in rigs:
        await rig.get(PATH, token=READER)

    assert counted() == [one + 1 for one in before]


async def test_the_limit_of_a_token_holds_for_direct_answers_too(tmp_path):
    rig = Rig(tmp_path, journeys=JOURNEYS, api_requests_per_second=1)

    answers = [await rig.get(PATH) for _ in range(4)]

    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
