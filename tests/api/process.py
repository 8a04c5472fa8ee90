"""An API process of a deployment under test, and a client of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import httpx
import orjson

from orchestrator.api.tokens import Scope, line_of
from tests.runtime.deployment import wait_until

ALL, READER, SENDER = "all-" + "a" * 40, "read-" + "b" * 40, "send-" + "c" * 40
TOKENS = "\n".join(
    (
        line_of("all", list(Scope), ALL),
        line_of("reader", [Scope.READ], READER),
        line_of("sender", [Scope.INGEST], SENDER),
    )
)

# Most of a start is Python's imports, which take their time when much else runs.
START_SECONDS_MAX = 150


class ApiProcess:
    """One process with a folder of its own; it may be killed and started again."""

    def __init__(self, deployment, tokens, name="api", **settings):
        self._deployment = deployment
        self.folder = deployment.folder / name
        self._settings = {
            "api_tokens": tokens,
            "api_port": 0,
            "api_metrics_port": 0,
            "api_data_dir": self.folder,
            "api_requests_per_second": 0,
        } | settings
        self.metrics_port = self._settings["api_metrics_port"]
        self.process = None
        self.starts = 0

    def start(self, *, ready=True):
        """Start it, and wait until it is ready."""
        values = self._deployment.settings | self._settings
        environment = os.environ | {
            f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in values.items()
        }
        self.log = self._deployment.folder / f"{self.folder.name}-{self.starts}.log"
        self.out = self.log.with_suffix(".out")
        self.starts += 1
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "api"],
            env=environment,
            stderr=self.log.open("wb"),
            stdout=self.out.open("wb"),
        )
        if ready:
            wait_until(lambda: self.told("ready") or self.process.poll() is not None, "a ready API")
            assert self.process.poll() is None, self.log.read_text()
            self.client = self.client_with(ALL)

    def client_with(self, token):
        """Return a client with a token."""
        port = self.told("listening")["port"]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)

    def told(self, event):
        """Return the first log line of an event, or None."""
        for line in self.log.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                fields = orjson.loads(line)
                if fields.get("event") == event:
                    return fields
        return None

    def kill(self):
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it as a supervisor does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
