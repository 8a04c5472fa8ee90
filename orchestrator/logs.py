"""What the programs tell on stderr: JSON for machines, colours for people, nobody's data.

`cli` calls `configure` once before anything else runs; every room then asks structlog for a
logger. The records of the libraries below us take the same road, so that a line is a line.
stdout belongs to answers: a bootstrap address, findings, a table.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import EventDict, Processor

# A customer id is a pseudonym, yet one that points at a person: it appears at debug only, where
# somebody looks for one customer on purpose. Payloads never appear.
_PERSONAL = ("customer", "customer_id", "subject", "key")
_NEVER = ("value", "data", "headers", "variables", "recipient", "attributes")

# Libraries that tell at `info` what our own lines tell better.
_CHATTY = (
    *("aiokafka", "faust", "mode", "asyncio", "docker", "testcontainers", "urllib3"),
    *("aiohttp", "aiosmtplib", "uvicorn", "librdkafka"),
)

# A client of a broker that is away says so hundreds of times a second, for hours.
_AGAIN_SECONDS: Final = 1.0
_REMEMBERED_MAX: Final = 500


def configure(*, level: str = "info", style: str = "auto") -> None:
    """Send every record to stderr, at `level` and above; `style` is auto, json or human."""
    human = style == "human" or (style == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        without_personal_data,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            *_renderers(human=human),
        ],
        logger_factory=_Lines(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Seldom())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(human=human),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At debug a Kafka client writes down the bytes of every request: everybody's data.
    floor = logging.INFO if level == "debug" else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(floor, root.level))


class _Line:
    """A logger whose lines are finished: making a record of each would cost as much again.

    It stands for a logger of the standard library, whose name and level count.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.name = logger.name
        self.disabled = logger.disabled
        self.getEffectiveLevel = logger.getEffectiveLevel

    def info(self, line: str, **_: Any) -> None:
        """Write a line at once; other threads write whole lines too.

        To where errors go by now: what they went to when logs were configured may be closed.
        """
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    debug = warning = error = critical = exception = info


class _Lines(structlog.stdlib.LoggerFactory):
    """Makes our own loggers."""

    def __call__(self, *args: Any) -> Any:
        """Return the logger of a module."""
        return _Line(super().__call__(*args))


class _Seldom(logging.Filter):
    """Lets a library say the same words once a second; ours are always let through."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _CHATTY:
            return True
        words, now = (record.name, record.getMessage()), time.monotonic()
        if now - self._said.get(words, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        if len(self._said) >= _REMEMBERED_MAX:
            self._said.clear()
        self._said[words] = now
        return True


def _renderers(*, human: bool) -> list[Processor]:
    """Return what makes a line of an event. A traceback names places, never what they held."""
    if human:
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _to_json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def without_personal_data(_logger: Any, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    """Drop what could point at a person, whoever wrote the line."""
    hidden = _NEVER if event.get("level") == "debug" else (*_PERSONAL, *_NEVER)
    for name in hidden:
        event.pop(name, None)
    return event
