"""Where a customer can be reached. Commands never carry an address, so a sender looks it up.

A team that has a customer database writes its own `AddressBook`; the file is for small shops and
for trying things out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sender.rules.command import Command


class AddressBook(Protocol):
    """Finds the address that a command means."""

    async def __call__(self, command: Command) -> str | None:
        """Return what `command.address_ref` is for `command.customer`; None when unknown."""


class AddressFile:
    """JSON lines: `{"customer": "ana", "profile.email": "ana@shop.example"}`.

    Read again when it changed; a change that cannot be read keeps what was known. Raises UsageError
    when it cannot be read at first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_customer: dict[str, dict[str, Any]] = {}
        self._changed_at: int | None = None
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"--addresses: {path}: {reason}; allowed: lines such as "
                '{"customer": "ana", "profile.email": "ana@shop.example"}'
            ) from None

    async def __call__(self, command: Command) -> str | None:
        """Return the address, or None."""
        try:
            self._refresh()
        except (OSError, ValueError):
            # Somebody is writing it; what we know is still the best there is.
            self._changed_at = None
        address = self._by_customer.get(command.customer, {}).get(command.address_ref or "")
        return address if isinstance(address, str) and address else None

    def _refresh(self) -> None:
        changed_at = self._path.stat().st_mtime_ns
        if changed_at == self._changed_at:
            return
        found = {}
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            entry = orjson.loads(line)
            if not isinstance(entry, dict) or not isinstance(entry.get("customer"), str):
                raise ValueError(f"line {number} names no customer")  # noqa: TRY004 - A value of the file.
            found[entry["customer"]] = entry
        self._by_customer, self._changed_at = found, changed_at
