"""`orchestrator sender CHANNEL`: delivers a channel's commands by POST, SMTP or signed webhook."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.cli.mails import Everybody, Shown
from orchestrator.cli.options import with_settings
from orchestrator.errors import UsageError
from orchestrator.sender import Options, Sender
from orchestrator.sender.providers import (
    AddressFile,
    HttpProvider,
    Mail,
    Signature,
    SmtpProvider,
    SmtpSettings,
)
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_EPILOG: Final = """\b
Examples:
  orchestrator sender email --show
  orchestrator sender sms --to http://127.0.0.1:8080/send
  orchestrator sender webhook --webhook https://partner.example/hook
  orchestrator sender email --smtp mail.shop.example:587 --from 'Shop <news@shop.example>' \\
      --addresses addresses.jsonl --unsubscribe-url 'https://shop.example/leave?m={command_id}'

\b
Secrets come from the environment, or from a file that a variable with _FILE at its end names:
  ORCHESTRATOR_SMTP_USERNAME, ORCHESTRATOR_SMTP_PASSWORD, ORCHESTRATOR_WEBHOOK_KEY

\b
Commands in test mode reach customers of --allow only. docs/senders.md says what is promised.
Exit codes: 0 stopped, 1 the broker refuses, 2 wrong usage, 70 it wants a restart.
"""
_PREFIX: Final = "ORCHESTRATOR_SENDER_"


def _option(flag: str, *name: str, **arguments: Any) -> Callable[[Any], Any]:
    """Declare an option with the variable of its name, told in its help."""
    variable = _PREFIX + flag.removeprefix("--").upper().replace("-", "_")
    arguments["help"] += f" [{variable}]"
    return click.option(flag, *name, envvar=variable, **arguments)


@click.command(epilog=_EPILOG, short_help="Deliver the commands of a channel.")
@click.argument("channel")
@_option("--to", metavar="URL", help="POST each command to an application; 2xx is its word.")
@_option("--smtp", metavar="HOST:PORT", help="Send e-mails through this server.")
@_option("--webhook", metavar="URL", help="POST each command, signed, to a public https address.")
@_option("--show", is_flag=True, help="Print what would go out, and send nothing.")
@_option("--recall", is_flag=True, help="With --to: POST cancels of what was handed over, too.")
@_option("--allow-private", is_flag=True, help="Let --webhook go to http and private addresses.")
@_option("--from", "sender_address", metavar="ADDRESS", default="", help="Sender of e-mails.")
@_option(
    "--addresses",
    type=click.Path(path_type=Path),
    help='Addresses, JSON lines: {"customer": "ana", "profile.email": "ana@shop.example"}.',
)
@_option("--unsubscribe-url", default="", help="https URL with {command_id} or {customer} in it.")
@_option(
    "--smtp-tls",
    type=click.Choice(["starttls", "implicit", "none"]),
    default="starttls",
    show_default=True,
    help="How the connection to the mail server is secured.",
)
@_option(
    "--allow",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with customer ids, one a line, whom test mode may reach.",
)
@_option("--per-second", type=float, help="Calls a second that the provider allows.")
@_option("--in-flight", type=int, default=16, show_default=True, help="Calls at one time.")
@_option(
    "--call-seconds", type=float, default=30.0, show_default=True, help="Wait for an answer, s."
)
@_option("--metrics-port", type=int, default=0, help="Port of /metrics; 0 is off.")
@_option("--metrics-host", default="127.0.0.1", show_default=True, help="Address of /metrics.")
@with_settings(ConnectionSettings, TopicSettings)
def sender(settings: Settings, *, channel: str, **chosen: Any) -> None:
    """Deliver the commands of CHANNEL until SIGTERM, checked right before each hand-over.

    One of --to, --smtp, --webhook and --show says how.
    """
    deliver = _provider(chosen)
    options = Options(
        allowed=Everybody() if chosen["show"] else _allowed(chosen["allow"]),
        in_flight_max=chosen["in_flight"],
        per_second=chosen["per_second"],
        call_seconds=chosen["call_seconds"],
        metrics_port=chosen["metrics_port"],
        metrics_host=chosen["metrics_host"],
    )
    recall = deliver if chosen["recall"] and chosen["to"] else None
    one = Sender(settings, channel, deliver, recall=recall, options=options)
    asyncio.run(_run(one, deliver))


async def _run(one: Sender, deliver: HttpProvider | SmtpProvider | Shown) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, one.stop)
    try:
        await one.run()
    finally:
        await deliver.close()


def _provider(chosen: dict[str, Any]) -> HttpProvider | SmtpProvider | Shown:
    ways = [name for name in ("to", "smtp", "webhook", "show") if chosen[name]]
    if len(ways) != 1:
        raise UsageError(
            "say how: exactly one of --to URL, --smtp HOST:PORT, --webhook URL, --show"
        )
    match ways[0]:
        case "show":
            return Shown()
        case "to":
            return HttpProvider(chosen["to"])
        case "webhook":
            key = _secret("WEBHOOK_KEY")
            if not key:
                raise UsageError(
                    "--webhook signs: set ORCHESTRATOR_WEBHOOK_KEY or ORCHESTRATOR_WEBHOOK_KEY_FILE"
                )
            return HttpProvider(
                chosen["webhook"],
                signature=Signature(key),
                public_only=not chosen["allow_private"],
            )
        case _:
            return _smtp(chosen)


def _smtp(chosen: dict[str, Any]) -> SmtpProvider:
    host, _, port = chosen["smtp"].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--smtp: {chosen['smtp']!r} is not HOST:PORT, such as localhost:587")
    if chosen["addresses"] is None:
        raise UsageError("--smtp needs --addresses FILE: commands carry no address")
    username, password = _secret("SMTP_USERNAME"), _secret("SMTP_PASSWORD")
    if username and chosen["smtp_tls"] == "none":
        raise UsageError("--smtp-tls none would send the password in the clear; allowed: starttls")
    settings = SmtpSettings(
        host=host.strip("[]"),
        port=int(port),
        tls=chosen["smtp_tls"],
        username=username,
        password=password,
    )
    mail = Mail(chosen["sender_address"], chosen["unsubscribe_url"])
    return SmtpProvider(settings, mail, AddressFile(chosen["addresses"]))


def _secret(name: str) -> str:
    """Read a secret from its variable, or from the file that the other variable names."""
    variable = f"ORCHESTRATOR_{name}"
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return os.environ.get(variable, "")
    if os.environ.get(variable):
        raise UsageError(f"{variable} and {variable}_FILE are both set; allowed: one of them")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{variable}_FILE: {path}: {error.strerror}") from None


def _allowed(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip())
