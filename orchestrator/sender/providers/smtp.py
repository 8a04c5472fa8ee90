"""E-mail over SMTP: a command becomes a message, and the server's answer an outcome.

Message-ID follows from the command's id, so a mail that is sent again after a crash is the same
mail to every server and mailbox that looks. Promotional mails can be left with one click.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiosmtplib

from orchestrator.errors import UsageError
from orchestrator.sender.rules.command import SEND
from orchestrator.sender.rules.outcome import (
    Bounced,
    Delivered,
    Failed,
    Outcome,
    Retry,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.sender.providers.addresses import AddressBook
    from orchestrator.sender.rules.command import Command

# From 500 on a server says that trying again changes nothing (RFC 5321, 4.2.1).
_PERMANENT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """Where mails are submitted. `tls` is `starttls`, `implicit` or `none`."""

    host: str
    port: int
    tls: str = "starttls"
    username: str = ""
    password: str = ""


class Mail:
    """Writes the messages of one sender address.

    `unsubscribe_url` is HTTPS with `{command_id}` or `{customer}` in it; RFC 8058 posts to it.
    Raises UsageError for an address or URL that cannot be.
    """

    def __init__(self, sender: str, unsubscribe_url: str) -> None:
        name, _, address = sender.rpartition("<")
        try:
            self._sender = Address(
                display_name=name.strip().strip('"'), addr_spec=address.removesuffix(">").strip()
            )
        except (ValueError, IndexError):
            self._sender = Address()
        if not self._sender.username or not self._sender.domain:
            raise UsageError(f"--from: {sender!r}; allowed: Shop <news@shop.example>")
        if not unsubscribe_url.startswith("https://") or "{" not in unsubscribe_url:
            raise UsageError(
                f"--unsubscribe-url: {unsubscribe_url!r}; allowed: an https URL with "
                "{command_id} or {customer} in it, which mail programs POST to (RFC 8058)"
            )
        self._unsubscribe_url = unsubscribe_url

    def write(self, command: Command, to: str) -> EmailMessage:
        """Return the message. Raises ValueError when the address or the content is unusable."""
        content = command.content or {}
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = Address(addr_spec=to)
        # A line break in a header would begin another one.
        message["Subject"] = " ".join(content.get("subject", "").split())
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = f"<{quote(command.id, safe='')}@{self._sender.domain}>"
        if command.promotional:
            url = self._unsubscribe_url.replace("{command_id}", quote(command.id, safe=""))
            url = url.replace("{customer}", quote(command.customer, safe=""))
            message["List-Unsubscribe"] = f"<{url}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        text = content.get("text")
        if not text:
            raise ValueError("there is no text")
        message.set_content(text)
        if html := content.get("html"):
            message.add_alternative(html, subtype="html")
        # Last, because setting the content clears what is called Content-.
        if command.locale:
            message["Content-Language"] = command.locale
        return message


class SmtpProvider:
    """Delivers mails; keeps connections open between them."""

    def __init__(self, settings: SmtpSettings, mail: Mail, addresses: AddressBook) -> None:
        self._settings = settings
        self._mail = mail
        self._addresses = addresses
        self._idle: list[aiosmtplib.SMTP] = []

    async def __call__(self, command: Command) -> Outcome:
        """Send one mail."""
        if command.type != SEND:
            return Failed("not_a_message")
        address = await self._addresses(command)
        if address is None:
            return Failed("no_address")
        try:
            message = self._mail.write(command, address)
        except (ValueError, IndexError):
            return Failed("unusable_content")
        try:
            connection = await self._connection()
        except (aiosmtplib.SMTPException, OSError):
            return Retry("not_reached")
        return await self._send(connection, message)

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    async def _send(self, connection: aiosmtplib.SMTP, message: EmailMessage) -> Outcome:
        try:
            async with self._kept(connection):
                await connection.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            return Bounced(f"smtp_{code}") if code >= _PERMANENT else Retry(f"smtp_{code}")
        except aiosmtplib.SMTPResponseException as error:
            # The server has answered, so it has not taken the mail.
            code = error.code
            return Failed(f"smtp_{code}") if code >= _PERMANENT else Retry(f"smtp_{code}")
        except aiosmtplib.SMTPNotSupported:
            return Failed("smtp_not_supported")
        except (aiosmtplib.SMTPException, OSError):
            return Unknown("no_answer")
        return Delivered(provider_id=str(message["Message-ID"]))

    async def _connection(self) -> aiosmtplib.SMTP:
        """Return a connection that answers: a server closes those that stand idle."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.noop()
            except (aiosmtplib.SMTPException, OSError):
                connection.close()
            else:
                return connection
        settings = self._settings
        connection = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            username=settings.username or None,
            password=settings.password or None,
        )
        await connection.connect()
        return connection

    @asynccontextmanager
    async def _kept(self, connection: aiosmtplib.SMTP) -> AsyncIterator[None]:
        """Keep a connection whose server answers; one in doubt must not carry the next mail."""
        try:
            yield
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused):
            self._idle.append(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
