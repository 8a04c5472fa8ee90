"""Lets be read what aiokafka raises for ever on, which would hold up its partition.

Kafka's protocol says that header names are text, but brokers do not check it and librdkafka sends
any bytes; such a name is read with its bytes escaped. And of a transaction marker compaction may
leave an empty batch behind, as of any record; it is read as nothing. `install_lenient_records` does
both for every consumer of this process; all other records keep aiokafka's fast path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

if TYPE_CHECKING:
    from collections.abc import Iterator


def install_lenient_records() -> None:
    """Give aiokafka's fetcher the lenient reader; calling it again changes nothing."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """aiokafka's reader of a fetched partition, batch by batch."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._batches = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> _Batch:
        """Return the next batch, with a way to read it again."""
        batch = self._records.next_batch()
        self._batches += 1
        return _Batch(batch, self._data, self._batches)


class _Batch:
    """A batch that reads itself again, slowly, when a header name cannot be decoded."""

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch = batch
        self._marker: Any = None
        self._data = data
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    @property
    def is_control_batch(self) -> bool:
        """Whether it holds a marker; compaction removes markers, and may leave their batch."""
        if self._marker is None and self._batch.is_control_batch:
            self._marker = next(self._batch, None)
        return self._marker is not None

    def __next__(self) -> Any:
        return next(self._batch) if self._marker is None else self._marker

    def __iter__(self) -> Iterator[Any]:
        last_offset = -1
        try:
            for record in self._batch:
                last_offset = record.offset
                yield record
        except UnicodeDecodeError:
            yield from (one for one in self._again() if one.offset > last_offset)

    def _again(self) -> _LenientBatch:
        # The fast reader does not give its bytes away; batches before this one are only skipped.
        records = _MemoryRecordsPy(self._data)
        for _ in range(self._number - 1):
            records._cache_next()  # noqa: SLF001 - The only way to skip without parsing.
        return _LenientBatch(records._next_slice)  # noqa: SLF001 - As above.


class _LenientBatch(_DefaultRecordBatchPy):
    """aiokafka's reader in Python; header names are all that it decodes from its buffer."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Part(part) if isinstance(index, slice) else part


class _Part(bytes):
    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "backslashreplace")
