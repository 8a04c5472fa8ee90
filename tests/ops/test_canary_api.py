"""The canary among those who ask the API: on every route, in every wrong way, quoted nowhere."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import cycle, product
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.api.ingest import Unavailable
from tests.api.process import ALL, READER, SENDER, TOKENS, ApiProcess
from tests.api.rig import Rig
from tests.ops import canary
from tests.ops.canary import MAIL, NAME, PHONE, WHO
from tests.ops.test_canary import FILES, free_port, page
from tests.runtime.deployment import Deployment, event, wait_until

JOURNEYS = Path(__file__).parents[2] / "journeys"


@pytest.fixture
def rig(tmp_path, monkeypatch):
    one = Rig(tmp_path, journeys=JOURNEYS, api_body_bytes_max=100_000)

    async def away(_events):
        raise Unavailable

    monkeypatch.setattr(one.api.ingest, "accept", away)
    return one


async def test_no_error_quotes_who_was_asked_about(rig):
    """Who sent a value knows it; what stands in an error ends in their logs, and in tickets."""
    statuses, quoted, others = Counter(), [], cycle((READER, SENDER, MAIL, ""))
    for number, ask in enumerate(canary.asks(rig.application)):
        token = ALL if number % 8 else next(others)
        answer = await rig.ask(
            ask.method, ask.path, token=token, headers=ask.headers, content=ask.body
        )
        statuses[answer.status_code] += 1
        if answer.status_code >= 400 and canary.words_in(answer.text + str(answer.headers)):
            quoted.append((ask.method, ask.template, ask.body, answer.text))

    assert [(one[0], one[1], (one[2] or b"")[:90], one[3][:300]) for one in quoted] == []
    assert {401, 403, 404, 405, 413, 422, 503} <= set(statuses)


async def test_who_asks_too_often_is_not_quoted_either(tmp_path):
    rig = Rig(tmp_path, api_requests_per_second=1)
    about = f"/v1/customers/{canary.MAIL}"

    answers = [await rig.get(about, headers=canary.HEADERS) for _ in range(4)]

    assert answers[-1].status_code == 429
    assert not any(canary.words_in(one.text + str(one.headers)) for one in answers)


# -- On a broker of its own: what the process leaves behind ----------------------------------------

# Other teams' records become events, or do not.
INPUTS = """\
orders:
  topic: erp
  rules:
    - when: record.value.kind == "order"
      type: purchase
      subject: record.value.customer
      id: record.value.number
      time: {value: record.value.at, unit: ms}
      data:
        order_id: record.value.number
        total: record.value.total
        currency: record.value.currency
        items: record.value.items
"""
OFFERS = """\
ten:
  owner: crm@shop.example
  description: For everybody.
  text: {en: 10 % off}
  gives: {percent_off: 10}
  valid_for: 30d
"""


@pytest.fixture
def shop(own_broker, tmp_path):
    """A deployment on a broker that may be killed, with a worker that says everything."""
    folder = tmp_path / "journeys"
    for name, text in (FILES | {"inputs.yaml": INPUTS, "offers.yaml": OFFERS}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    one = Deployment(
        own_broker.bootstrap_servers, "", "orchestrator", tmp_path,
        journeys=folder, log_level="debug",
    )  # fmt: skip
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap_servers})
    admin.create_topics([NewTopic("erp", 2)])["erp"].result(20)
    yield one
    one.stop()


def api_of(shop, name, tokens=TOKENS):
    api = ApiProcess(shop, tokens, name, api_metrics_port=free_port(), api_body_bytes_max=100_000)
    api.start()
    return api


def bad_records(shop):
    """Let another team write what no rule can map; return how much."""
    order = {"kind": "order", "customer": MAIL, "number": "1", "at": 1, "total": "9.00"}
    values = [
        MAIL.encode(),
        b"[" * 90 + NAME.encode(),
        orjson.dumps({"kind": MAIL}),
        orjson.dumps({"kind": {NAME: PHONE}}),
        orjson.dumps(order | {"at": MAIL, "currency": "EUR", "items": []}),
        orjson.dumps(order | {"customer": [NAME], "currency": MAIL, "items": PHONE}),
        orjson.dumps(order | {"customer": {MAIL: NAME}, "currency": "EUR", "items": []}),
        orjson.dumps(order | {"total": NAME, "currency": "EUR", "items": [{MAIL: NAME}]}),
        orjson.dumps(order | {"number": MAIL * 20, "currency": "EUR", "items": []}),
    ]
    producer = shop.producer()
    for value in values:
        producer.produce("erp", key=MAIL, value=value, headers=[("mail", MAIL.encode())])
    assert producer.flush(20) == 0
    return len(values)


def sweep(api):
    """Ask everything, now and then without the right; return how often each status was said."""
    statuses, others = Counter(), cycle((READER, SENDER, MAIL, ""))
    with api.client_with("") as client:
        for number, ask in enumerate(canary.asks(create_application_to_look_at())):
            token = ALL if number % 8 else next(others)
            headers = ask.headers | ({"authorization": f"Bearer {token}"} if token else {})
            answer = client.request(ask.method, ask.path, headers=headers, content=ask.body)
            statuses[answer.status_code] += 1
    return statuses


def create_application_to_look_at():
    """Return an application whose routes can be listed."""
    with tempfile.TemporaryDirectory() as folder:
        return Rig(Path(folder)).application


def nonsense(api):
    """Say what is no HTTP at all."""
    for said in (f"GET /{MAIL} HTTP/9.9", NAME, f"GET / HTTP/1.1\r\n{MAIL}"):
        with socket.create_connection(("127.0.0.1", api.told("listening")["port"]), 10) as one:
            one.sendall(f"{said}\r\n\r\n".encode())
            one.recv(4096)


def at_the_screen(api):
    """Sign in and out, look for somebody, and send every form, right and wrong."""
    with api.client_with("") as client:
        client.post("/people/session", data={"token": MAIL, "name": NAME})
        client.post("/people/session", data={"token": ALL, "name": NAME})
        page = client.get("/people").text
        secret = re.search(r'name="secret" value="([^"]+)"', page)[1]
        forms = [
            *({"customer": one} for one in (WHO, MAIL, NAME, PHONE, "")),
            {"state": MAIL}, {"state": "started"}, {"kind": NAME, "offer": MAIL}, {"offer": MAIL},
            {"kind": "note", "text": f"{MAIL} {PHONE}"}, {"kind": "case.opened", "subject": MAIL},
            {"enrollment": MAIL}, {"outcome": MAIL}, {"offer": "ten"},
        ]  # fmt: skip
        found = client.post("/people/find", data={"customer": WHO, "secret": secret})
        about = found.headers["location"]
        shown = client.get(about)
        assert NAME in shown.text
        for form, path in product(
            forms,
            (
                "/people/find", "/people/tasks/x/claim", f"/people/tasks/{quote(MAIL)}/close",
                f"/people/customers/{quote(MAIL)}/exit",
                *(f"{about}/{what}" for what in ("handoff", "outcome", "offer", "exit")),
            ),
        ):  # fmt: skip
            client.post(path, data=form | {"secret": secret})
            client.post(path, data=form | {"secret": MAIL})
        client.get(f"{about}?before={quote(MAIL)}")
        client.get(f"/people?queue={quote(MAIL)}")
        client.post("/people/session/end", data={"secret": secret})


def in_the_read_model(api, change):
    """Do something to the file of the read model, as a failing disk or a curious hand would."""
    with contextlib.closing(sqlite3.connect(api.folder / "read-model.db", timeout=20)) as db:
        db.execute(change)
        db.commit()


def verb(shop, *arguments):
    values = {f"ORCHESTRATOR_{name.upper()}": str(one) for name, one in shop.settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=os.environ | values, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def the_canary_lives(shop, api):
    """Let everybody know the canary; return when they are in the read model."""
    attributes = {"name": NAME, "email": MAIL, "phone": PHONE}
    events = [
        event("profile.updated", "p-1", WHO, attributes=attributes),
        event("search.done", "s-1", WHO),
        event("fails.please", "f-1", WHO, said=MAIL),
    ]
    kind = {"content-type": "application/cloudevents-batch+json"}
    receipt = api.client.post("/v1/events", json=events, headers=kind).json()["receipt"]
    found = api.client.get(f"/v1/customers/{WHO}", params={"after": receipt})
    assert NAME in found.text
    assert NAME in api.client.get(f"/v1/customers/{WHO}/context").text
    assert "moments" in api.client.get(f"/v1/customers/{WHO}/explain").json()


def the_broker_dies(own_broker, api):
    """Ask on while nobody takes events, and then while nobody can read the file either."""
    own_broker.kill9()
    event_of_canary = {"content": orjson.dumps(canary.BODIES["/v1/events"][0])}
    kind = {"content-type": "application/json"}
    assert api.client.post("/v1/events", **event_of_canary, headers=kind).status_code == 503
    said = canary.BODIES["/v1/identify"][0]
    assert api.client.post("/v1/identify", json=said).status_code == 503
    in_the_read_model(api, "ALTER TABLE timeline RENAME TO gone")
    for about in (f"/v1/customers/{MAIL}/explain", f"/v1/customers/{WHO}/timeline"):
        assert api.client.get(about, headers={"user-agent": NAME}).status_code == 500


@pytest.mark.timeout(400)
def test_the_process_leaves_nothing_of_the_canary_behind(own_broker, shop):
    port = free_port()
    worker = shop.start(metrics_port=port)
    api, other = api_of(shop, "api"), api_of(shop, "other")
    try:
        the_canary_lives(shop, api)
        bad = bad_records(shop)
        statuses = sweep(api)
        nonsense(api)
        at_the_screen(api)
        wait_until(lambda: len(shop.read("dead-letters")) >= bad, "dead letters", 60)
        letters = shop.read("dead-letters")
        told = [verb(shop, "explain", WHO), verb(shop, "export", WHO)]
        in_the_read_model(other, "DROP TABLE timeline")
        erased = verb(shop, "erase", WHO)
        assert other.process.wait(60) == 70
        pages = [page(one) for one in (port, api.metrics_port)]
        the_broker_dies(own_broker, api)
        pages.append(page(api.metrics_port))
        api.stop()  # Although its broker is gone, and an event for it is under way.
    finally:
        for one in (api, other):
            one.kill()
    worker.kill()
    worker.wait()

    assert {200, 202, 401, 403, 404, 405, 413, 415, 422} <= set(statuses)
    assert [one.returncode for one in told] == [0, 0]
    assert canary.words_in(erased.stdout + erased.stderr) == []
    for log in (worker.log, api.log, other.log, *(one.out for one in (api, other))):
        text = log.read_text()
        assert canary.words_in(text) == [], f"{log.name}: {canary.lines_with(text)}"
    assert '"event":"answered"' in api.log.read_text()
    for text in pages:
        assert "orchestrator_" in text
        assert canary.words_in(text) == []
    for _, value, headers in letters:
        ours = [one for one in headers if one[0].startswith("dl_")]
        assert canary.words_in(repr(ours)) == [], (ours, value)
