"""E-mail, to a real SMTP server: what arrives, and what its answers mean."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl

import pytest
import trustme
from aiosmtpd.smtp import SMTP

from orchestrator.errors import UsageError
from orchestrator.sender import Bounced, Delivered, Failed, Retry, Unknown
from orchestrator.sender.providers import AddressFile, Mail, SmtpProvider, SmtpSettings
from tests.sender.builders import command

LEAVE = "https://shop.example/leave?m={command_id}&c={customer}"


class Mailbox:
    """Takes mails, and answers RCPT and DATA as told."""

    def __init__(self):
        self.mails, self.rcpt, self.data = [], "250 OK", "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.data == "hang up":
            server.transport.close()
        elif self.data.startswith("2"):
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.mails.append((envelope.rcpt_tos, message))
        return self.data


@contextlib.asynccontextmanager
async def serving(box, **tls):
    """Let an SMTP server hand its mails to a box."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box), "127.0.0.1", 0, **tls)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
async def mailbox():
    async with serving(Mailbox()) as one:
        yield one


@pytest.fixture
async def send(mailbox, tmp_path):
    """Send a command to the mailbox and return the outcome."""
    path = tmp_path / "addresses.jsonl"
    path.write_text('{"customer": "ana", "profile.email": "ana@shop.example"}\n')
    settings = SmtpSettings(host="127.0.0.1", port=mailbox.port, tls="none")
    provider = SmtpProvider(settings, Mail("Shop <news@shop.example>", LEAVE), AddressFile(path))
    yield provider
    await provider.close()


async def test_a_mail_arrives_with_an_id_that_never_changes(send, mailbox):
    for _ in range(2):
        assert isinstance(
            await send(command(content={"subject": "Zelte", "text": "Grüße"})), Delivered
        )
    (recipients, mail), (_, again) = mailbox.mails

    assert recipients == ["ana@shop.example"]
    assert (mail["From"], mail["Subject"]) == ("Shop <news@shop.example>", "Zelte")
    assert mail["Message-ID"] == again["Message-ID"] == "<c1@shop.example>"
    assert mail.get_content().strip() == "Grüße"
    assert mail["Content-Language"] == "en-GB"


async def test_html_is_an_alternative_to_the_text(send, mailbox):
    await send(command(content={"subject": "s", "text": "plain", "html": "<b>rich</b>"}))
    ((_, mail),) = mailbox.mails

    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


async def test_promotional_mails_can_be_left_with_one_click_and_order_mails_need_not(send, mailbox):
    await send(command("c/1"))
    await send(command("c2", command_class="transactional"))
    (_, promotional), (_, order) = mailbox.mails

    assert promotional["List-Unsubscribe"] == "<https://shop.example/leave?m=c%2F1&c=ana>"
    assert promotional["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert order["List-Unsubscribe"] is None


async def test_a_line_break_in_a_subject_begins_no_header(send, mailbox):
    await send(command(content={"subject": "Hi\r\nBcc: eve@evil.example", "text": "x"}))
    ((recipients, mail),) = mailbox.mails

    assert recipients == ["ana@shop.example"]
    assert mail["Bcc"] is None


@pytest.mark.parametrize(
    ("rcpt", "data", "outcome"),
    [
        ("550 no such user", "250 OK", Bounced("smtp_550")),
        ("450 greylisted", "250 OK", Retry("smtp_450")),
        ("250 OK", "554 spam", Failed("smtp_554")),
        ("250 OK", "451 later", Retry("smtp_451")),
        ("250 OK", "hang up", Unknown("no_answer")),
    ],
)
async def test_what_the_servers_answers_mean(send, mailbox, rcpt, data, outcome):
    mailbox.rcpt, mailbox.data = rcpt, data

    assert await send(command()) == outcome
    assert mailbox.mails == []

    mailbox.rcpt = mailbox.data = "250 OK"
    assert isinstance(await send(command()), Delivered), "the next mail is not hindered"


async def test_what_cannot_be_addressed_or_written_fails_and_is_not_sent(send, mailbox):
    assert await send(command(subject="nobody")) == Failed("no_address")
    assert await send(command(content={"subject": "only"})) == Failed("unusable_content")
    assert await send(command(type="audience.add", audience="tents")) == Failed("not_a_message")
    assert mailbox.mails == []


async def test_a_server_that_is_away_or_not_trusted_gets_nothing(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = tmp_path / "addresses.jsonl"
    path.write_text('{"customer": "ana", "profile.email": "ana@shop.example"}\n')
    book, mail = AddressFile(path), Mail("news@shop.example", LEAVE)
    async with serving(Mailbox(), ssl=context) as box:
        settings = SmtpSettings(host="127.0.0.1", port=box.port, tls="implicit")
        provider = SmtpProvider(settings, mail, book)
        assert await provider(command()) == Retry("not_reached")
    assert await provider(command()) == Retry("not_reached")
    assert box.mails == []


async def test_a_server_without_starttls_gets_nothing_in_the_clear(mailbox, tmp_path):
    path = tmp_path / "addresses.jsonl"
    path.write_text('{"customer": "ana", "profile.email": "ana@shop.example"}\n')
    settings = SmtpSettings(host="127.0.0.1", port=mailbox.port)
    provider = SmtpProvider(settings, Mail("news@shop.example", LEAVE), AddressFile(path))

    assert await provider(command()) == Retry("not_reached")
    assert mailbox.mails == []


async def test_the_address_file_is_read_again_when_it_changed(tmp_path):
    path = tmp_path / "addresses.jsonl"
    path.write_text('{"customer": "ana", "profile.email": "a@shop.example"}\n')
    book = AddressFile(path)
    assert await book(command()) == "a@shop.example"

    path.write_text('{"customer": "ana", "profile.email": "b@shop.example"}\n\n')
    assert await book(command()) == "b@shop.example"
    path.write_text("{")
    assert await book(command()) == "b@shop.example"
    assert await book(command(recipient={"address_ref": "profile.phone"})) is None


@pytest.mark.parametrize("text", ["[]", '{"email": "x"}', "{"])
def test_an_address_file_that_says_nothing_is_refused(tmp_path, text):
    path = tmp_path / "addresses.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="--addresses"):
        AddressFile(path)


@pytest.mark.parametrize(
    ("sender", "url"),
    [
        ("", LEAVE),
        ("Shop", LEAVE),
        ("a@b.example", "http://x/{customer}"),
        ("a@b.example", "https://x"),
    ],
)
def test_a_sender_or_a_way_to_leave_that_cannot_be_is_refused(sender, url):
    with pytest.raises(UsageError, match="allowed"):
        Mail(sender, url)
