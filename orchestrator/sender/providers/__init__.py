"""Senders that really send: e-mail over SMTP, signed webhooks, and the sidecar's plain POST."""

from orchestrator.sender.providers.addresses import AddressBook, AddressFile
from orchestrator.sender.providers.http import HttpProvider, Signature
from orchestrator.sender.providers.smtp import Mail, SmtpProvider, SmtpSettings

__all__ = [
    "AddressBook",
    "AddressFile",
    "HttpProvider",
    "Mail",
    "Signature",
    "SmtpProvider",
    "SmtpSettings",
]
