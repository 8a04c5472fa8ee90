"""`orchestrator run` keeps a deployment up, says where it is, and goes down when asked."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.runtime.deployment import ITEMS, event

ORDER = {"order_id": "1", "total": "129.00", "currency": "EUR", "items": ITEMS}
ROOT = Path(__file__).parents[2]


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_run_prints_its_address_alone_restarts_a_worker_and_stops_in_order(
    kafka, topic_prefix, app_id
):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "orchestrator", "run", "--workers", "1"),
            *("--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", topic_prefix),
            *("--app-id", app_id, "--metrics-port", "0", "--partitions", "2", "--mails"),
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
        assert process.stdout.readline() == kafka.bootstrap_servers + "\n"
        first = int(hear(r"worker 0 starts \(pid (\d+)\)")[1])
        os.kill(first, signal.SIGKILL)
        hear(r"ended with code -9.*worker 0 starts .*worker 0 is ready")
        assert f"-t {topic_prefix}touchpoints" in "".join(told)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        bought = event("purchase", "p1", "ana", **ORDER)
        producer.produce(f"{topic_prefix}touchpoints", key="ana", value=json.dumps(bought))
        producer.flush(10)
        hear(r"email to ana: Thank you, customer\n")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)

    listener.join(5)
    assert code == 0
    assert "worker 0 has stopped" in "".join(told)
    assert told[-1] == "Stopped.\n"
