"""A TCP proxy in front of a broker's listener, which can do to connections what networks do.

The broker advertises the proxy's address on that listener, so clients that begin there stay there.
Bytes are never lost inside a connection, as TCP promises: a cut holds them until it heals, unless
the connection is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator.broker import EmbeddedBroker, Listener

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

_CHUNK_BYTES: Final = 16_384
_HELD_POLL_SECONDS: Final = 0.05
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Weather:
    """What is done to the bytes of all connections from now on."""

    hold_requests: bool = False
    hold_answers: bool = False
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    piece_bytes: int = _CHUNK_BYTES
    """Nothing larger is handed on at once."""

    def holds(self, *, to_broker: bool) -> bool:
        """Whether bytes of this direction stay where they are."""
        return self.hold_requests if to_broker else self.hold_answers


class Proxy:
    """Listens on one port and hands on to another. A context manager."""

    def __init__(self, port: int, target: int) -> None:
        self.weather = Weather()
        self.resets = 0
        self.truncated = 0
        self.port, self._target = port, target
        self._random = random.Random(port)
        self._cut_next = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Hold everything in both directions, as a cable that is pulled out."""
        self.weather = Weather(hold_requests=True, hold_answers=True)

    def deafen(self) -> None:
        """Let requests through and hold the answers."""
        self.weather = Weather(hold_answers=True)

    def heal(self) -> None:
        """Hand everything on at once."""
        self.weather = Weather()

    def reset(self) -> None:
        """Reset every open connection."""
        self._await(self._reset())

    def truncate(self) -> None:
        """End the next connection that speaks in the middle of a frame."""
        self._cut_next = True

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _reset(self) -> None:
        for writer in list(self._open):
            self._abort(writer)

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
        self._open.discard(writer)
        self.resets += 1

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._let_through(to_broker=True)
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, outer}
        ways = [
            asyncio.ensure_future(self._hand_on(reader, outer, to_broker=True)),
            asyncio.ensure_future(self._hand_on(inner, writer, to_broker=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, outer):
            self._open.discard(end)
            with contextlib.suppress(OSError):
                end.close()

    async def _let_through(self, *, to_broker: bool) -> None:
        # The weather is set from another thread, which cannot wake anybody here.
        while self.weather.holds(to_broker=to_broker):  # noqa: ASYNC110
            await asyncio.sleep(_HELD_POLL_SECONDS)

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_broker: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self.weather.piece_bytes):
                weather = self.weather
                if weather.delay_seconds or weather.jitter_seconds:
                    late = weather.delay_seconds + self._random.random() * weather.jitter_seconds
                    await asyncio.sleep(late)
                await self._let_through(to_broker=to_broker)
                if self._cut_next and not to_broker and len(data) > 8:
                    self._cut_next = False
                    self.truncated += 1
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()


def proxied_broker(folder: Path, properties: Mapping[str, str]) -> tuple[EmbeddedBroker, int, int]:
    """Return a broker that is not started, the port of its proxy, and the one behind it.

    Its second listener advertises the proxy's address, so whoever begins there is led back there.
    """
    plain, behind, front = (EmbeddedBroker.free_port() for _ in range(3))
    advertised = f"PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{front}"
    broker = EmbeddedBroker(
        folder,
        port=plain,
        listeners=[Listener("PROXIED", "PLAINTEXT", port=behind)],
        properties={**properties, "advertised.listeners": advertised},
    )
    return broker, front, behind
