"""`orchestrator run` keeps a deployment up, says where it is, and goes down when asked."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from orchestrator.api.tokens import Scope, Tokens, line_of
from orchestrator.cli.serving.desk import Desk
from orchestrator.settings import Settings
from tests.runtime.deployment import ITEMS, event

ORDER = {"order_id": "1", "total": "129.00", "currency": "EUR", "items": ITEMS}
ROOT = Path(__file__).parents[2]


def assert_serves(address, token):
    """Fail when the token that was shown does not open what it is for, or opens more."""
    with httpx.Client(base_url=address) as client:
        asked = {"headers": {"Authorization": f"Bearer {token}"}}
        known = client.get("/v1/customers/ana", **asked)
        erased = client.post("/v1/events", json=event("customer.erased", "e1", "ana"), **asked)
        signed_in = client.post("/people/session", data={"token": token})
        screen = client.get("/people")

        assert client.get("/v1/customers/ana").status_code == 401
    assert known.status_code == 200, known.text
    assert "erase" in erased.text, "who may not erase is told so"
    assert erased.status_code == 422
    assert (signed_in.status_code, screen.status_code) == (303, 200)


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_run_prints_its_address_alone_restarts_a_worker_and_stops_in_order(
    kafka, topic_prefix, app_id, tmp_path
):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "orchestrator", "run", "--workers", "1"),
            *("--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", topic_prefix),
            *("--app-id", app_id, "--metrics-port", "0", "--partitions", "2", "--mails"),
            *("--api", "--api-port", "0", "--api-data-dir", str(tmp_path / "api")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told = []
    listener = threading.Thread(target=lambda: told.extend(process.stderr), daemon=True)
    listener.start()

    def hear(pattern):
        deadline = time.monotonic() + 80
        while time.monotonic() < deadline:
            if found := re.search(pattern, "".join(told), re.DOTALL):
                return found
            time.sleep(0.1)
        pytest.fail(f"never said {pattern}: {''.join(told)}")

    try:
        assert process.stdout.readline() == kafka.bootstrap_servers + "\n", "".join(told)
        first = int(hear(r"worker 0 starts \(pid (\d+)\)")[1])
        os.kill(first, signal.SIGKILL)
        hear(r"ended with code -9.*worker 0 starts .*worker 0 is ready")
        assert f"-t {topic_prefix}touchpoints" in "".join(told)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        bought = event("purchase", "p1", "ana", **ORDER)
        producer.produce(f"{topic_prefix}touchpoints", key="ana", value=json.dumps(bought))
        producer.flush(10)
        hear(r"email to ana: Thank you, customer\n")
        address, token = hear(r"(http://127\.0\.0\.1:\d+)/people\n.*?\n    (jo_\S+)\n").groups()
        assert_serves(address, token)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)

    listener.join(5)
    assert code == 0
    assert "worker 0 has stopped" in "".join(told)
    assert "the API has stopped" in "".join(told)
    assert "".join(told).count(token) == 2, "in the words about it, and in no line of a log"
    assert told[-1] == "Stopped.\n"


def desk(tmp_path, **given):
    broker = SimpleNamespace(data_dir=tmp_path)
    return Desk.of(Settings.load(**given), 2, broker, lambda *_: None)


def test_the_api_of_run_has_a_token_of_its_own_only_when_none_is_configured(tmp_path):
    line = line_of("mine", [Scope.READ], "x" * 40)
    made, mine = desk(tmp_path), desk(tmp_path, api_tokens=SecretStr(line))
    caller = Tokens.parse(made.settings["api_tokens"]).find(made.token)

    assert caller.scopes == {Scope.INGEST, Scope.READ, Scope.ACT}
    assert mine.token is None
    assert "api_tokens" not in mine.settings
    assert made.token in made.greeting()
    assert "$TOKEN" in mine.greeting()


def test_the_api_of_run_keeps_off_the_ports_and_folders_of_others(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = desk(tmp_path, api_port=port).settings
    assert "api_port" not in given, "whoever has asked for a port is told that it is taken"
    assert given["api_metrics_port"] == Settings().metrics_port + 2
    assert given["api_data_dir"] == tmp_path / "api"
    assert "api_data_dir" not in desk(tmp_path, api_data_dir=tmp_path / "mine").settings
    assert desk(tmp_path, metrics_port=0).settings["api_metrics_port"] == 0


def test_the_api_of_run_takes_a_free_port_when_somebody_has_the_usual_one(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.cli.serving.desk._in_use", lambda *_: True)

    assert desk(tmp_path).settings["api_port"] == 0
