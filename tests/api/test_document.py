"""The document says everything that the API answers, and the API answers nothing else."""

import uuid
from pathlib import Path

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.api.application import document
from tests.api.process import ALL, TOKENS, ApiProcess
from tests.api.rig import Rig
from tests.runtime.deployment import Deployment, purchase

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
EXAMPLES = 25
# Not that valid data is accepted: what a type of event needs depends on its data, and what may be
# paused or published on what is.
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def described(tmp_path):
    return document(Rig(tmp_path).application)


def operations(described):
    return [
        (f"{method} {path}", operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_the_committed_document_is_current(described):
    written = orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"

    assert COMMITTED.read_bytes() == written, "run `orchestrator api --document docs/openapi.json`"


def test_the_document_is_openapi_3_1_with_a_summary_for_every_operation(described):
    assert described["openapi"] == "3.1.0"
    for name, operation in operations(described):
        assert operation.get("summary"), name
        assert operation.get("description"), name


def test_every_answer_of_the_document_has_an_example(described):
    """A field's own example counts: a reader sees what stands there."""
    lacking = []
    for name, schema in described["components"]["schemas"].items():
        for field, said in schema.get("properties", {}).items():
            told = {"examples", "example", "$ref", "items", "anyOf", "additionalProperties"}
            if not told & said.keys() and said.get("type") not in ("boolean", "object"):
                lacking.append(f"{name}.{field}")

    assert not lacking


def test_every_guarded_operation_documents_what_guards_it(described):
    for name, operation in operations(described):
        if "/health/" in name:
            continue
        assert {"401", "403", "413", "422", "429", "503"} <= operation["responses"].keys(), name
        assert operation["security"], name


@pytest.fixture(scope="module")
def api_schema(kafka, tmp_path_factory):
    """The document of a running API, with a customer to find."""
    mark = uuid.uuid4().hex[:8]
    folder = tmp_path_factory.mktemp("document")
    deployment = Deployment(kafka.bootstrap_servers, f"t{mark}.", f"app-{mark}", folder)
    deployment.start()
    api = ApiProcess(deployment, TOKENS, api_wait_seconds=0.1)
    api.start()
    api.client.post("/v1/events", json=purchase("ana"))
    schema = schemathesis.openapi.from_dict(api.client.get("/v1/openapi.json").json())
    schema.config.update(base_url=str(api.client.base_url))
    yield schema
    api.stop()
    deployment.stop()


@pytest.mark.timeout(900)
def test_whatever_is_asked_the_answer_is_documented_and_no_failure(api_schema):
    asked = []
    for found in api_schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def ask(case):
            headers = {"Authorization": f"Bearer {ALL}"}
            case.call_and_validate(headers=headers, timeout=30, checks=CHECKS)

        ask()
        asked.append(operation.label)

    assert len(asked) == len(operations(api_schema.raw_schema))
