"""Whether a broker would serve a client, asked with a client's own request.

A listening port is not enough: Kafka opens it before it lets itself be used. Metadata names only
brokers that are in service, so one broker in the answer means ready.
"""

from __future__ import annotations

import asyncio
import socket
import threading

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

_TIMEOUT_MS = 2_000


def answers(bootstrap_servers: str) -> bool:
    """Ask for metadata once; callable with or without a running event loop around it."""
    if not _listens(bootstrap_servers):
        # The client below would report each refusal in the log.
        return False
    found: list[bool] = []

    def ask() -> None:
        found.append(asyncio.run(_ask(bootstrap_servers)))

    # The caller may be inside an event loop, which allows no second one in its thread.
    thread = threading.Thread(target=ask, name="broker-ready")
    thread.start()
    thread.join()
    return found == [True]


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


async def _ask(bootstrap_servers: str) -> bool:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_TIMEOUT_MS)
    try:
        await asyncio.wait_for(client.bootstrap(), _TIMEOUT_MS / 1000)
        return bool(client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
