"""Turns settings into options, and has those of several verbs, so that none is written twice.

A verb says which groups of `settings.py` it offers; it is called with one frozen `Settings`:

    @click.command()
    @with_settings(ConnectionSettings, TopicSettings)
    def topics(settings: Settings, *, plan: bool) -> None: ...

Values go to `Settings.load` as they were typed; all checking stands there. Logging is configured
here too, before the verb runs.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import SecretStr

from orchestrator import logs
from orchestrator.errors import UsageError
from orchestrator.protocol.codec import CUSTOMER_ID_BYTES_MAX
from orchestrator.settings import (
    ENVIRONMENT_PREFIX,
    SECRETS,
    ConnectionSettings,
    JourneySettings,
    LogSettings,
    RegistrySettings,
    Settings,
    TopicSettings,
    WorkerSettings,
    allowed_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ALL_GROUPS: tuple[type[BaseModel], ...] = (
    ConnectionSettings,
    TopicSettings,
    JourneySettings,
    RegistrySettings,
    WorkerSettings,
)


def with_settings(*groups: type[BaseModel]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the options of these groups (all without any), and a `settings` argument."""
    chosen: tuple[type[BaseModel], ...] = (*(groups or ALL_GROUPS), LogSettings)
    names = [name for group in chosen for name in group.model_fields if name not in SECRETS]

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def run(**arguments: Any) -> Any:
            options = {name: arguments.pop(name) for name in names}
            settings = Settings.load(config=arguments.pop("config"), **options)
            logs.configure(level=settings.log_level, style=settings.log_format)
            return verb(settings=settings, **arguments)

        decorated: Callable[..., Any] = run
        for name in reversed(names):
            decorated = _option(name, Settings.model_fields[name])(decorated)
        return click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"TOML file with settings. [{ENVIRONMENT_PREFIX}CONFIG]",
        )(decorated)

    return decorate


def with_broker(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of the embedded broker: `port` and `data_dir`."""
    port = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=9092,
        show_default=True,
        envvar=f"{ENVIRONMENT_PREFIX}BROKER_PORT",
        help="Port of the embedded broker, on the loopback address; 0 takes a free one. "
        f"[{ENVIRONMENT_PREFIX}BROKER_PORT]",
    )
    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar=f"{ENVIRONMENT_PREFIX}BROKER_DATA_DIR",
        metavar="DIR",
        help="Where the embedded broker's data stays; without it, it goes with the broker. "
        f"[{ENVIRONMENT_PREFIX}BROKER_DATA_DIR]",
    )
    return port(data_dir(verb))


def check_customer(customer: str) -> None:
    """Raise UsageError for what can be nobody's id."""
    if not 0 < len(customer.encode()) <= CUSTOMER_ID_BYTES_MAX:
        raise UsageError(f"CUSTOMER: allowed: an id of 1 to {CUSTOMER_ID_BYTES_MAX} bytes")


def _option(name: str, field: FieldInfo) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = "--" + name.replace("_", "-")
    text = f"{field.description} ({allowed_values(name)}). [{ENVIRONMENT_PREFIX}{name.upper()}"
    default = _shown(field.default)
    text += f"; default {default}]" if default else "]"
    if field.annotation is bool:
        negative = "--no-" + name.replace("_", "-")
        return click.option(f"{flag}/{negative}", name, default=None, help=text)
    return click.option(flag, name, metavar=_metavar(field), default=None, help=text)


def _shown(default: object) -> str:
    if isinstance(default, SecretStr) or default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default)
    return str(default)


def _metavar(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, float):
        return "SECONDS"
    if isinstance(default, int):
        return "NUMBER"
    if default is None or isinstance(default, Path):
        return "PATH"
    return "TEXT"
