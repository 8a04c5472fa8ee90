"""A canary among the customers: on every path, errors included, and in nobody's logs or metrics.

Their name, mail address and phone number are like nobody else's. They go through a worker and two
senders that say everything they can say, on a real Kafka; what they leave behind is searched.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP

from tests.ops.canary import MAIL, NAME, PHONE, WHO, lines_with, words_in
from tests.runtime.deployment import Deployment, event, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

FILES = {
    "shop.yaml": "zone: UTC\nevents:\n  fails.please: []\n",
    "channels.yaml": """\
email: {kind: message, needs_consent: false, address_ref: profile.email, partitions: 1}
push: {kind: message, needs_consent: false, address_ref: profile.phone, partitions: 1}
callcenter: {kind: task, address_ref: profile.phone, partitions: 1}
""",
    "hello.yaml": """\
name: hello
version: 1
owner: crm@shop.example
kind: service
stage: service
entry: {on: search.done, reentry: always}
steps:
  - id: mail
    send: {channel: email, template: hello, variables: {name: profile.name}}
  - id: ring
    send: {channel: push, template: hello, variables: {name: profile.name}}
  - id: call
    task: {template: call, variables: {name: profile.name}}
""",
    "fails.yaml": """\
name: fails
version: 1
owner: crm@shop.example
kind: service
stage: service
entry: {on: fails.please, reentry: always}
steps:
  - id: unknown
    send: {channel: email, template: hello, variables: {name: profile.no_such}}
  - id: broken
    send: {channel: email, template: breaks, variables: {name: profile.name}}
  - id: fork
    branch:
      - when: profile.name > 5
        next: done
      - next: done
  - id: done
    end: done
""",
    "templates/email/hello.yaml": "en:\n  subject: Hello {{ name }}\n  text: Hello {{ name }}\n",
    "templates/push/hello.yaml": "en:\n  text: Hello {{ name }}\n",
    "templates/email/breaks.yaml": "en:\n  subject: Hello\n  text: '{{ name | divided_by: 0 }}'\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "journeys"
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


@pytest.fixture
def deployment(kafka: Any, topic_prefix: str, app_id: str, tmp_path: Path) -> Iterator[Deployment]:
    one = Deployment(kafka.bootstrap_servers, topic_prefix, app_id, tmp_path)
    yield one
    one.stop()


class DeadLetterBox:
    """A mail server that knows nobody, and says so with the name and the address."""

    async def handle_RCPT(self, _server: Any, _session: Any, _envelope: Any, address: str, _: Any):  # noqa: N802
        return f"550 5.1.1 <{address}> {NAME} does not live here"


async def _fails(_request: web.Request) -> web.Response:
    return web.Response(status=400, reason=f"no {NAME}", text=f"{MAIL} {PHONE}")


@asynccontextmanager
async def providers() -> AsyncIterator[tuple[int, int]]:
    """Run a mail server and an HTTP provider that refuse with personal data in their answers."""
    loop = asyncio.get_running_loop()
    mails = await loop.create_server(lambda: SMTP(DeadLetterBox()), "127.0.0.1", 0)
    application = web.Application()
    application.router.add_post("/send", _fails)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield mails.sockets[0].getsockname()[1], runner.addresses[0][1]
    mails.close()
    await runner.cleanup()


class Program:
    """A sender that says everything, until the end of the test."""

    def __init__(self, deployment: Deployment, name: str, *arguments: str) -> None:
        values = deployment.settings | {"log_level": "debug"}
        environment = os.environ | {
            f"ORCHESTRATOR_{one.upper()}": str(value) for one, value in values.items()
        }
        self.log = deployment.folder / f"{name}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "sender", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def poison(deployment: Deployment) -> int:
    """Write everything that no worker can apply, with the canary in it; return how much."""
    topic, known = deployment.prefix + "touchpoints", event("purchase", "o-1", WHO)
    reused = event("search.done", "s-1", WHO, said=MAIL)
    said = f'{{"specversion": "1.0", "subject": "{MAIL}", {NAME}'
    records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (WHO.encode(), said.encode(), []),
        (WHO.encode(), orjson.dumps({"name": NAME, "mail": MAIL, "phone": PHONE}), []),
        (WHO.encode(), orjson.dumps(known | {"data": {"order_id": [MAIL], "total": NAME}}), []),
        (WHO.encode(), orjson.dumps(known | {"time": MAIL}), []),
        (WHO.encode(), orjson.dumps(known | {"type": {"x": PHONE}}), []),
        (MAIL.encode(), orjson.dumps(event("search.done", "s-2", WHO)), []),
        (WHO.encode(), orjson.dumps(reused), []),
        (WHO.encode(), b"[" * 90 + MAIL.encode(), []),
        (WHO.encode(), None, []),
        (WHO.encode(), f'{{"x": NaN, "mail": "{MAIL}"}}'.encode(), []),
        (WHO.encode(), MAIL.encode() * 20_000, []),
    ]
    producer = deployment.producer()
    for key, value, headers in records:
        producer.produce(topic, key=key, value=value, headers=headers)
    assert producer.flush(20) == 0
    return len(records)


def test_a_canary_leaves_nothing_behind(deployment: Deployment, folder: Path) -> None:
    asyncio.run(_sing(deployment, folder))


async def _sing(deployment: Deployment, folder: Path) -> None:
    ports = [free_port() for _ in range(3)]
    settings = {"journeys": folder, "log_level": "debug", "event_bytes_max": 100_000}
    worker = await asyncio.to_thread(deployment.start, metrics_port=ports[0], **settings)
    addresses = deployment.folder / "addresses.jsonl"
    addresses.write_text(f'{{"customer": "{WHO}", "profile.email": "{MAIL}"}}\n')
    allowed = deployment.folder / "allowed"
    allowed.write_text(f"{WHO}\n")
    async with providers() as (mail_port, http_port):
        senders = [
            Program(
                deployment, "email", "email", "--smtp", f"127.0.0.1:{mail_port}",
                "--smtp-tls", "none", "--from", "Shop <news@shop.example>",
                "--addresses", str(addresses), "--unsubscribe-url", "https://s.example/{customer}",
                "--allow", str(allowed), "--metrics-port", str(ports[1]),
            ),
            Program(
                deployment, "push", "push", "--to", f"http://127.0.0.1:{http_port}/send",
                "--allow", str(allowed), "--metrics-port", str(ports[2]),
            ),
        ]  # fmt: skip
        pages = await asyncio.to_thread(_live, deployment, ports)
        for one in senders:
            await asyncio.to_thread(one.stop)
    worker.terminate()
    worker.wait(60)

    told = [worker.log, *(one.log for one in senders)]
    for log in told:
        text = log.read_text()
        assert '"level":"info"' in text, "a program that says nothing proves nothing"
        assert words_in(text) == [], f"{log.name}: {lines_with(text)}"
    for text in pages:
        assert "orchestrator_" in text
        assert words_in(text) == []
    for key, value, headers in deployment.read("dead-letters"):
        assert words_in(repr([one for one in headers if one[0].startswith("dl_")])) == [], value
        assert key is not None
    for name in ("attempts.email", "attempts.push"):
        assert deployment.read(name)
        assert words_in(repr(deployment.read(name))) == []
    reports = [value for _, value, _ in deployment.read("touchpoints") if _is_report(value)]
    assert {one["type"] for one in reports} >= {"message.bounced", "message.failed"}
    assert words_in(repr(reports)) == []
    log = repr([value for _, value, _ in deployment.read("journey-log")])
    assert words_in(log) == []


def _live(deployment: Deployment, ports: list[int]) -> list[str]:
    """Let the canary live and be refused everywhere, then be erased; return the metrics pages."""
    attributes = {"name": NAME, "email": MAIL, "phone": PHONE}
    deployment.produce(
        event("profile.updated", "p-1", WHO, attributes=attributes),
        event("search.done", "s-1", WHO),
        event("fails.please", "f-1", WHO, said=MAIL),
        partitioner="murmur2_random",
    )
    poisoned = poison(deployment)
    wait_until(lambda: len(deployment.read("dead-letters")) >= poisoned, "dead letters", 120)
    refused = deployment.log_entries(WHO)
    assert {"missing_variable", "rendering_failed", "step_failed"} <= set(refused)
    types = {"message.bounced", "message.failed"}
    wait_until(
        lambda: types <= {v["type"] for _, v, _ in deployment.read("touchpoints") if _is_report(v)},
        "reports of both senders",
        120,
    )
    pages = [page(port) for port in ports]
    deployment.produce(event("customer.erased", "e-1", WHO), partitioner="murmur2_random")
    wait_until(lambda: "customer_erased" in deployment.log_entries(WHO), "erasure", 60)
    return [*pages, page(ports[0])]


def _is_report(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("type", "")).startswith("message.")
