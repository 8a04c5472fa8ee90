"""Nothing answers without a token but health, and no token opens more than its scopes say."""

import re
from itertools import product

import pytest
from fastapi.routing import APIRoute

from orchestrator.api.access import RateLimit
from orchestrator.api.tokens import Scope, Tokens, line_of, new_token
from orchestrator.errors import UsageError
from tests.api.process import READER, SENDER
from tests.api.rig import Rig

OPEN = {"/health/live", "/health/ready"}
PATH_PART = re.compile(r"\{[^}]*\}")


def routes_of(application):
    """Return method, a path that fits, template and route of everything that answers."""
    found = []
    for route in flattened(application.routes):
        for method in sorted(route.methods):
            found += [(method, PATH_PART.sub("ana", route.path), route.path, route)]
    return found


def flattened(routes, prefix=""):
    """Return the routes, also where the framework keeps included ones in a router of their own."""
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if inner is not None and not isinstance(route, APIRoute):
            yield from flattened(inner)
        else:
            yield route


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


async def test_no_route_but_health_answers_without_a_token(rig):
    asked = routes_of(rig.application)
    assert len(asked) > 10

    for method, path, template, _ in asked:
        for token in ("", "no-such-token", " "):
            answer = await rig.ask(method, path, token=token)
            if template in OPEN:
                assert answer.status_code == 200, template
            else:
                assert answer.status_code == 401, f"{method} {template} answers {token!r}"
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_route_refuses_a_token_without_its_scope(tmp_path):
    tokens = {scope: f"{scope}-{'x' * 40}" for scope in Scope}
    lines = "\n".join(line_of(scope, [scope], token) for scope, token in tokens.items())
    rig = Rig(tmp_path, tokens=lines)
    refused = 0

    for (method, path, template, route), scope in product(routes_of(rig.application), Scope):
        if template in OPEN:
            continue
        required = getattr(type(route), "required", None)
        assert required is not None, f"{method} {template} was not made by scoped_router"
        if scope is required:
            continue
        answer = await rig.ask(method, path, token=tokens[scope])
        refused += 1
        assert answer.status_code == 403, f"{method} {template} answers a token for {scope}"

    assert refused > 20


async def test_without_a_configured_token_only_health_answers(tmp_path):
    rig = Rig(tmp_path, tokens="")

    answer = await rig.get("/v1/customers/ana")

    assert answer.status_code == 401
    assert "no token is configured" in answer.json()["detail"]
    assert (await rig.get("/health/live", token="")).status_code == 200


async def test_the_token_is_looked_at_before_the_body_is_read(rig):
    answer = await rig.ask("POST", "/v1/events", token=READER, content=b"{" * 100)

    assert answer.status_code == 403


async def test_the_document_is_the_same_for_who_may_read(rig):
    assert (await rig.get("/v1/openapi.json", token=READER)).json()["openapi"].startswith("3.1")
    assert (await rig.get("/v1/openapi.json", token=SENDER)).status_code == 403


async def test_a_caller_over_the_limit_is_told_when_to_come_again(tmp_path):
    rig = Rig(tmp_path, api_requests_per_second=1)

    answers = [await rig.get("/v1/customers/ana") for _ in range(4)]

    assert [one.status_code for one in answers[:2]] == [404, 404]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_limit_refills_with_time_and_holds_each_caller_by_itself():
    limit = RateLimit(2)

    assert [limit.wait_seconds("one", 0.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert limit.wait_seconds("other", 0.0) == 0
    assert limit.wait_seconds("one", 0.5) == 0
    assert limit.wait_seconds("one", 0.5) > 0


def test_a_made_token_is_found_again_and_its_line_does_not_hold_it():
    token, line = new_token("shop", [Scope.READ, Scope.INGEST])

    caller = Tokens.parse(line).find(token)

    assert caller.name == "shop"
    assert caller.scopes == {Scope.READ, Scope.INGEST}
    assert token not in line
    assert Tokens.parse(line).find(token[:-1]) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("shop read secret", "line 1"),
        ("shop", "line 1"),
        ("sh op read sha256:" + "0" * 64, "line 1"),
        ("shop reed sha256:" + "0" * 64, "did you mean"),
        ("shop , sha256:" + "0" * 64, "without a scope"),
        ("\n\nshop read sha256:XY", "line 3"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_without_quoting_it(line, said):
    with pytest.raises(UsageError, match=r"api_tokens") as refused:
        Tokens.parse(line)

    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_name_that_stands_there_twice_is_refused():
    line = line_of("shop", [Scope.READ], "one")

    with pytest.raises(UsageError, match="twice"):
        Tokens.parse(f"{line};{line_of('shop', [Scope.ACT], 'two')}")
