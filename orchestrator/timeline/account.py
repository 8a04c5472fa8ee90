"""From an answer of `explain` back to the journey log: an answer is an account of what was decided.

`simulator/answers` decides by it again. What is not in the answer cannot come back, so this is also
the proof that the answer left nothing out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.protocol.outputs import LogRecord, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Where a cause says when.
_TIMES: Final = ("time", "due", "occurrence")


def log_value(customer: str, moment: Mapping[str, Any]) -> bytes:
    """Return the value of the journey-log record that a moment of an answer is about.

    `moment` is one of `as_json(…)["moments"]`. Raises ValueError when it lacks something.
    """
    cause = {name: one for name, one in moment["cause"].items() if one is not None}
    cause |= {name: _stamp(cause[name]) for name in _TIMES if name in cause}
    record = {
        "customer": customer,
        "now": _stamp(moment["at"]),
        "cause": cause,
        "outcome": moment["outcome"],
        "definitions": moment["definitions"],
        "entries": [fact["entry"] for fact in moment["facts"] if fact["entry"] is not None],
        "paused": moment["paused"],
    }
    return msgspec.json.encode(msgspec.convert(record, LogRecord))


def _stamp(instant: str) -> str:
    return rfc3339((datetime.fromisoformat(instant) - _EPOCH) // _MILLISECOND)
