"""Posting commands: what is sent, what an answer means, and where a webhook may not go."""

from __future__ import annotations

import base64
import hashlib
import hmac

import aiohttp
import pytest
from aiohttp import web

from orchestrator.errors import UsageError
from orchestrator.sender import Delivered, Failed, Retry, Unknown
from orchestrator.sender.providers import HttpProvider, Signature
from orchestrator.sender.providers.http import outcome_of
from tests.sender.builders import command

KEY = "k" * 32


class Receiver:
    """An HTTP server that answers as told and remembers what it got."""

    def __init__(self):
        self.requests, self.status, self.headers = [], 204, {}

    async def start(self):
        application = web.Application()
        application.router.add_post("/send", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/send"

    async def stop(self):
        await self._runner.cleanup()

    async def _take(self, request):
        self.requests.append((request.headers.copy(), await request.read()))
        if self.status is None:
            request.transport.close()
        return web.Response(status=self.status or 500, headers=self.headers)


@pytest.fixture
async def receiver():
    one = Receiver()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def post(receiver):
    """Post a command to the receiver with any provider's arguments; return the outcome."""
    opened = []

    async def call(one, url=None, **arguments):
        provider = HttpProvider(url or receiver.url, **arguments)
        opened.append(provider)
        return await provider(one)

    yield call
    for provider in opened:
        await provider.close()


async def test_the_command_is_posted_as_it_came_with_its_id_as_the_key(post, receiver):
    one = command()

    assert await post(one) == Delivered()
    ((headers, body),) = receiver.requests
    assert body == one.body
    assert headers["Idempotency-Key"] == one.id
    assert headers["Content-Type"] == "application/cloudevents+json"


async def test_a_webhook_is_signed_as_standard_webhooks_says(post, receiver):
    await post(command(), signature=Signature(KEY))
    ((headers, body),) = receiver.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()

    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "c1"


def test_the_signature_of_a_known_message_is_known():
    """The example of the Standard Webhooks libraries."""
    signature = Signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "retry_after", "outcome"),
    [
        (200, None, Delivered()),
        (302, None, Failed("http_302")),
        (400, None, Failed("http_400")),
        (429, "7", Retry("http_429", 7.0)),
        (503, "nonsense", Retry("http_503")),
        (503, "Mon, 01 Jan 2024 00:00:00 GMT", Retry("http_503", 0.0)),
        (503, "1e99", Retry("http_503", 86400.0)),
        (429, "nan", Retry("http_429")),
        (500, "3", Unknown("http_500", 3.0)),
    ],
)
def test_what_an_answer_means(status, retry_after, outcome):
    assert outcome_of(status, retry_after) == outcome


async def test_redirects_are_not_followed(post, receiver):
    receiver.status, receiver.headers = 307, {"Location": receiver.url}

    assert await post(command()) == Failed("http_307")
    assert len(receiver.requests) == 1


async def test_without_an_answer_nobody_knows_and_without_a_connection_nothing_was_sent(
    post, receiver
):
    receiver.status = None
    assert await post(command()) == Unknown("no_answer")

    await receiver.stop()
    assert await post(command()) == Retry("not_reached")


async def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(post, receiver):
    """A name is judged by the addresses that are connected to, not by what it led to before."""
    outcome = await post(command(), f"https://localhost:{receiver.port}/send", public_only=True)

    assert outcome == Failed("forbidden_address")
    assert receiver.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://224.0.0.1/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "http://partner.example/",
        "ftp://partner.example/",
        "https://user:secret@partner.example/",
    ],
)
def test_an_address_inside_or_an_open_connection_is_refused_at_once(url):
    with pytest.raises(UsageError):
        HttpProvider(url, public_only=True)


@pytest.mark.parametrize("url", ["https://2130706433/", "https://127.1/", "https://0x7f.1/"])
async def test_other_spellings_of_loopback_are_refused_too(post, url):
    assert isinstance(await post(command(), url, public_only=True), Failed)


@pytest.mark.parametrize("key", ["short", "whsec_!!!", "whsec_c2hvcnQ="])
def test_a_weak_key_is_refused(key):
    with pytest.raises(UsageError):
        Signature(key)


def test_aiohttp_still_has_the_error_that_tells_a_refusal():
    assert issubclass(aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorError)
