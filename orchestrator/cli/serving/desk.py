"""The API that `orchestrator run` keeps beside its workers, with defaults that are safe to try.

Loopback; a token of its own when none is configured, shown once and kept nowhere; the read model
in the folder of the embedded broker, because it is a copy of what stands there.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.screen.door import HOME
from orchestrator.api.tokens import Scope, new_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.broker import EmbeddedBroker
    from orchestrator.demo.supervisor import OnLine, Worker
    from orchestrator.settings import Settings

# What an afternoon of trying takes; to erase somebody, the command line will do.
_SCOPES: Final = (Scope.INGEST, Scope.READ, Scope.ACT)
_NAME: Final = "run"


@dataclass(slots=True)
class Desk:
    """What the API is started with; `token` is None when somebody has configured their own."""

    settings: Mapping[str, object]
    token: str | None
    pass_on: OnLine
    address: str = ""

    @classmethod
    def of(
        cls, settings: Settings, workers: int, embedded: EmbeddedBroker | None, pass_on: OnLine
    ) -> Desk:
        """Work out what is not configured."""
        own: dict[str, object] = {}
        token = None
        given = settings.model_fields_set
        if settings.api_tokens is None:
            token, own["api_tokens"] = new_token(_NAME, _SCOPES)
        if settings.api_session_secret is None:
            # Who is signed in stays so when the process is started again.
            own["api_session_secret"] = secrets.token_urlsafe(32)
        if embedded is not None and "api_data_dir" not in given:
            own["api_data_dir"] = embedded.data_dir / "api"
        if "api_metrics_port" not in given:
            # The workers have the ports before it.
            own["api_metrics_port"] = settings.metrics_port and settings.metrics_port + workers
        if "api_port" not in given and _in_use(settings.api_host, settings.api_port):
            own["api_port"] = 0
        return cls(own, token, pass_on)

    def on_line(self, process: Worker, line: str, fields: Mapping[str, Any]) -> None:
        """Hear where it listens."""
        if fields.get("event") == "listening":
            host = str(fields["host"])
            host = f"[{host}]" if ":" in host else host
            self.address = f"http://{host}:{fields['port']}"
        self.pass_on(process, line, fields)

    def greeting(self) -> str:
        """Say where it is, and what to sign in with."""
        token = self.token or "$TOKEN"
        told = (
            "  with a token of ORCHESTRATOR_API_TOKENS or of your file"
            if self.token is None
            else f"  with this token, made for this run and shown this once:\n    {self.token}"
        )
        return f"""
  the screen for people, in a browser:
    {self.address}{HOME}
{told}

  the same customer over HTTP:
    curl -H "Authorization: Bearer {token}" '{self.address}/v1/customers/ana'
"""


def _in_use(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        return True
    return False
