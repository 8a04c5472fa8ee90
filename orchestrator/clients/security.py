"""From the settings to what every Kafka client is constructed with, and why one cannot connect.

The clients of the worker, the admin client and those of the command line all take
`client_options(settings)`, and what reads a log in bulk takes `bulk_options(settings)`; nothing
else in the code knows about TLS or passwords.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors
from aiokafka.conn import create_conn

from orchestrator.errors import DependencyError, UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orchestrator.settings import ConnectionSettings

_TRY_SECONDS: Final = 10.0


def client_options(settings: ConnectionSettings) -> dict[str, Any]:
    """Return the arguments with which every aiokafka client reaches the broker."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": _secret(settings.sasl_password),
        }
    return options


def bulk_options(settings: ConnectionSettings) -> dict[str, Any]:
    """Return the configuration with which librdkafka reaches the same broker in the same way."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        checked = "https" if settings.ssl_check_hostname else "none"
        options["ssl.endpoint.identification.algorithm"] = checked
        if settings.ssl_cafile is not None:
            options["ssl.ca.location"] = str(settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            options["ssl.certificate.location"] = str(settings.ssl_certfile)
            # A file may hold the certificate and its key.
            options["ssl.key.location"] = str(settings.ssl_keyfile or settings.ssl_certfile)
            if settings.ssl_key_password is not None:
                options["ssl.key.password"] = _secret(settings.ssl_key_password)
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": _secret(settings.sasl_password),
        }
    return options


def _secret(given: SecretStr | None) -> str:
    return given.get_secret_value() if given else ""


def ssl_context(settings: ConnectionSettings) -> ssl.SSLContext:
    """Build the TLS side of a client; the broker is always verified."""
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = settings.ssl_check_hostname
        if settings.ssl_certfile is not None:
            context.load_cert_chain(
                settings.ssl_certfile,
                settings.ssl_keyfile,
                # Without a password OpenSSL would ask for one on the terminal.
                _secret(settings.ssl_key_password),
            )
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise UsageError(
            f"ssl_cafile, ssl_certfile or ssl_keyfile: {reason}; allowed: PEM files that belong "
            "together, and ssl_key_password_file when the key is encrypted"
        ) from None
    return context


async def check_connection(settings: ConnectionSettings) -> None:
    """Return when a broker lets us in, else raise with the reason that each one gave.

    The clients retry and log; a person at a terminal wants one line that says what to change.
    """
    options = client_options(settings)
    addresses = options.pop("bootstrap_servers").split(",")
    reasons = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            connection = await asyncio.wait_for(
                create_conn(host.strip("[]"), int(port), **options), _TRY_SECONDS
            )
        except (OSError, errors.KafkaError, TimeoutError) as error:
            reasons.append(f"{address}: {_reason(error, settings)}")
        else:
            connection.close()
            return
    raise DependencyError("no broker lets us in: " + "; ".join(reasons))


def _reason(error: Exception, settings: ConnectionSettings) -> str:
    """Say what the operator has to look at; never with a secret."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted ({error.verify_message}); check ssl_cafile and "
                "the host's name"
            )
        case ssl.SSLError():
            return f"TLS fails ({error.reason}); check security_protocol and the port"
        case errors.UnsupportedSaslMechanismError():
            return f"it does not know sasl_mechanism {settings.sasl_mechanism}"
        case errors.AuthenticationFailedError() | errors.SaslAuthenticationFailed():
            return (
                f"it refuses the login of {settings.sasl_username!r}; check sasl_username, the "
                "password and sasl_mechanism"
            )
        case TimeoutError():
            return f"no answer within {_TRY_SECONDS:g} s; check the address and security_protocol"
        case ConnectionRefusedError():
            return "nobody listens there"
        case ConnectionError() | errors.KafkaConnectionError():
            return (
                f"it closes the connection; check security_protocol ({settings.security_protocol})"
            )
        case _:
            return f"{type(error).__name__}: {error}"
