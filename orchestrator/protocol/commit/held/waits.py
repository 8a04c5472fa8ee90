"""The index of due times of a partition, rebuilt from the state records at recovery.

The truth stands in each customer's record; this only finds who is next.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

# Entries that no longer count stay in the heap until they outnumber the others by this.
_STALE_SLACK: Final = 4_096


class WaitIndex:
    """Customers by earliest due time."""

    __slots__ = ("_due_by_customer", "_heap")

    def __init__(self, due: dict[bytes, int] | None = None) -> None:
        """Take what is due, by customer in epoch milliseconds; the mapping is the index's own."""
        self._due_by_customer = {} if due is None else due
        self._rebuild()

    def __len__(self) -> int:
        return len(self._due_by_customer)

    def set(self, customer: bytes, due_ms: int | None) -> None:
        """Replace the customer's due time; None when nothing waits."""
        if due_ms is None:
            self._due_by_customer.pop(customer, None)
            return
        if self._due_by_customer.get(customer) == due_ms:
            return
        self._due_by_customer[customer] = due_ms
        heappush(self._heap, (due_ms, customer))
        if len(self._heap) > 2 * len(self._due_by_customer) + _STALE_SLACK:
            self._rebuild()

    def next_due_ms(self) -> int | None:
        """Return the earliest due time."""
        while self._heap:
            due_ms, customer = self._heap[0]
            if self._due_by_customer.get(customer) == due_ms:
                return due_ms
            heappop(self._heap)
        return None

    def pop_due(self, now_ms: int) -> tuple[bytes, int] | None:
        """Remove and return the first customer whose time has come, with the due time.

        The caller decides it at once and sets the customer's next due time.
        """
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        _, customer = heappop(self._heap)
        del self._due_by_customer[customer]
        return customer, due_ms

    def count_due(self, now_ms: int) -> int:
        """Return how many are due; reads the heap's order only as far as it must."""
        count = 0
        pending = [0]
        while pending:
            i = pending.pop()
            if i < len(self._heap) and self._heap[i][0] <= now_ms:
                due_ms, customer = self._heap[i]
                count += self._due_by_customer.get(customer) == due_ms
                pending += (2 * i + 1, 2 * i + 2)
        return count

    def _rebuild(self) -> None:
        self._heap = [(due_ms, customer) for customer, due_ms in self._due_by_customer.items()]
        heapify(self._heap)
