"""An application without Kafka: the real routes over a real store, which tests fill by hand."""

from __future__ import annotations

import httpx

from orchestrator.api.application import Api, create_application
from orchestrator.api.ingest import Ingest
from orchestrator.api.model.effects import Effects
from orchestrator.api.model.read_model import ReadModel
from orchestrator.api.model.store import Batch, Bounds, Identity, Store
from orchestrator.api.telemetry import Telemetry
from orchestrator.api.tokens import Tokens
from orchestrator.catalog import load
from orchestrator.core.encoded.state import encode_customer
from orchestrator.settings import Settings
from tests.api.process import ALL, TOKENS

IDENTITY = Identity("cluster-1", "orchestrator-customers-changelog", 8)
BOUNDS = Bounds(timeline_ms=90 * 86_400_000, entries_max=1_000)
NOW_MS = 1_795_348_800_000


async def no_topics(_settings, _channels):
    """Create nothing."""


class Rig:
    """The application, its store, and a client for each token."""

    def __init__(self, folder, *, tokens=TOKENS, journeys=None, **settings):
        self.settings = Settings.load(**({"api_requests_per_second": 0} | settings))
        telemetry = Telemetry()
        self.telemetry = telemetry
        self.model = ReadModel(self.settings, telemetry)
        feed = self.model._feed
        feed.store = self.store = Store(folder, IDENTITY, BOUNDS)
        feed.effects = self.effects = Effects({}, {})
        feed.caught_up = self.model._learned = True
        if journeys is not None:
            self.model.journeys = load(journeys, "test")
        ingest = Ingest({}, "touchpoints", telemetry, event_bytes_max=self.settings.event_bytes_max)
        self.api = Api(
            self.settings,
            Tokens.parse(tokens),
            self.model,
            ingest,
            telemetry,
            frozenset({"touchpoints"}),
            no_topics,
        )
        self.application = create_application(self.api)

    def know(self, *customers, log=()):
        """Put customers and journey-log records (customer, time, value) into the store."""
        states = {one.id.encode(): encode_customer(one) for one in customers}
        self.store.apply(Batch(customers=states, timeline=list(log)), now_ms=NOW_MS)

    async def ask(self, method, path, *, token=ALL, **request):
        """Send one request."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            headers |= request.pop("headers", {})
            return await client.request(method, path, headers=headers, **request)

    async def get(self, path, **request):
        """Send a GET."""
        return await self.ask("GET", path, **request)
