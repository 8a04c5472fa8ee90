"""Every setting of a deployment, read once at the edge and frozen.

The command line (`cli/options.py`) calls `Settings.load`; every room below is handed the group it
needs, and reads neither the environment nor a file itself. A value comes from an option, else from
`ORCHESTRATOR_…`, else from the TOML file, else from the default written here. A wrong one becomes
a `UsageError` of one line: which setting, what was wrong, what is allowed.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from orchestrator.errors import UsageError

ENVIRONMENT_PREFIX = "ORCHESTRATOR_"
SECRETS = frozenset(
    {
        *("sasl_password", "ssl_key_password", "schema_registry_password"),
        *("api_tokens", "api_session_secret"),
    }
)

_TOPIC_NAME = r"[a-zA-Z0-9._-]{1,200}"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:,/]+):([0-9]{1,5})")


def _split(value: object) -> object:
    """Cut a list at its commas; TOML has lists of its own."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _setting(default: Any, text: str, *, allowed: str, **constraints: Any) -> Any:
    """Declare a field; `allowed` ends the message about a wrong value, and the help."""
    return Field(
        default=default,
        description=text,
        json_schema_extra={"allowed": allowed},
        **constraints,
    )


def _whole(default: int, text: str, *, low: int, high: int) -> Any:
    return _setting(default, text, allowed=f"a whole number, {low} to {high}", ge=low, le=high)


def _seconds(default: float, text: str, *, low: float, high: float) -> Any:
    return _setting(default, text, allowed=f"seconds, {low:g} to {high:g}", ge=low, le=high)


def _readable_file(value: Path | None) -> Path | None:
    if value is not None and not (value.is_file() and os.access(value, os.R_OK)):
        raise ValueError(f"{value} cannot be read")
    return value


class ConnectionSettings(BaseModel):
    """How every client reaches the broker; the names are Kafka's own."""

    bootstrap_servers: str = _setting(
        "127.0.0.1:9092", "brokers to ask first", allowed="host:port, several with commas"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _setting(
        "PLAINTEXT",
        "how clients talk to the broker",
        allowed="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = _setting(
        "SCRAM-SHA-512", "how clients log in", allowed="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    sasl_username: str = _setting("", "user to log in as", allowed="the broker's name for us")
    sasl_password: SecretStr | None = _setting(
        None,
        "password to log in with",
        allowed="the environment variable, or a file named by sasl_password_file",
    )
    sasl_password_file: Path | None = _setting(
        None, "file that holds the password", allowed="a readable file"
    )
    ssl_cafile: Path | None = _setting(
        None, "CA certificates, PEM; the system's without it", allowed="a readable file"
    )
    ssl_certfile: Path | None = _setting(
        None, "our certificate, PEM, for mutual TLS", allowed="a readable file"
    )
    ssl_keyfile: Path | None = _setting(
        None, "key of our certificate, PEM", allowed="a readable file"
    )
    ssl_key_password: SecretStr | None = _setting(
        None,
        "password of the key",
        allowed="the environment variable, or a file named by ssl_key_password_file",
    )
    ssl_key_password_file: Path | None = _setting(
        None, "file that holds the password of the key", allowed="a readable file"
    )
    ssl_check_hostname: bool = _setting(
        True, "the broker's certificate must name its host", allowed="true or false"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",")]
        for part in parts:
            found = _ADDRESS.fullmatch(part)
            if found is None or not 0 < int(found[2]) < 65536:
                raise ValueError(f"{part!r} is not host:port")
        return ",".join(parts)

    @field_validator(
        "sasl_password_file",
        "ssl_cafile",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_key_password_file",
    )
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        return _readable_file(value)


class TopicSettings(BaseModel):
    """What the topics are called and how they are made."""

    topic_prefix: str = _setting(
        "",
        "put before the name of every topic",
        allowed="letters, digits, dot, underscore, hyphen; at most 100",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
    )
    app_id: str = _setting(
        "orchestrator",
        "consumer group, and prefix of the internal topics",
        allowed="letters, digits, dot, underscore, hyphen; at most 100",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
    )
    partitions: int = _whole(8, "partitions of the customers; fixed for good", low=1, high=1024)
    input_topics: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = _setting(
        ("touchpoints",), "topics with events", allowed="topic names, several with commas"
    )
    replication_factor: int = _whole(
        0, "copies of each topic; 0 is one on each broker, at most 3", low=0, high=9
    )

    @field_validator("input_topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("there is none")
        for name in value:
            if re.fullmatch(_TOPIC_NAME, name) is None:
                raise ValueError(f"{name!r} is not a topic name")
        if len(set(value)) < len(value):
            raise ValueError("a topic is named twice")
        return value


class JourneySettings(BaseModel):
    """Which journeys run, and whether people may be reached by them."""

    journeys: Path = _setting(Path("journeys"), "folder of the journeys", allowed="a folder")
    mode: Literal["test", "live"] = _setting(
        "test", "test reaches allow-listed recipients only", allowed="test or live"
    )


class RegistrySettings(BaseModel):
    """Where the schemas of Avro and Protobuf records are, for `inputs.yaml`."""

    schema_registry_url: str = _setting(
        "",
        "schema registry that inputs in Avro and Protobuf need",
        allowed="http://… or https://…, without a password in it",
        pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$",
    )
    schema_registry_username: str = _setting(
        "", "user to log in as at the registry", allowed="the registry's name for us"
    )
    schema_registry_password: SecretStr | None = _setting(
        None,
        "password at the registry",
        allowed="the environment variable, or a file named by schema_registry_password_file",
    )
    schema_registry_password_file: Path | None = _setting(
        None, "file that holds the password at the registry", allowed="a readable file"
    )
    schema_registry_cafile: Path | None = _setting(
        None,
        "the registry's CA certificates, PEM; the system's without it",
        allowed="a readable file",
    )

    @field_validator("schema_registry_password_file", "schema_registry_cafile")
    @classmethod
    def _can_be_read(cls, value: Path | None) -> Path | None:
        return _readable_file(value)


class WorkerSettings(BaseModel):
    """One worker: who it is, what it tells, when it gives up, how much it takes at a time."""

    slot: str = _setting(
        "0",
        "name of this worker, unique and stable over restarts",
        allowed="letters, digits, dot, underscore, hyphen; at most 100",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
    )
    metrics_host: str = _setting("127.0.0.1", "address of /metrics", allowed="an address of ours")
    metrics_port: int = _whole(9464, "port of /metrics; 0 is off", low=0, high=65535)
    event_bytes_max: int = _whole(
        1_000_000, "bytes of an event; more is a dead letter", low=1_000, high=100_000_000
    )
    state_bytes_max: int = _whole(
        900_000, "bytes of one customer's state", low=10_000, high=100_000_000
    )
    # The broker's defaults allow a session of 6 s to 30 min, so 6 s is the fastest takeover
    # that needs nobody's leave. Who is left learns of it with its next heartbeat, so they are many.
    session_timeout_seconds: float = _seconds(
        6.0, "silence after which a worker is given up", low=1, high=1800
    )
    heartbeat_interval_seconds: float = _seconds(
        0.5, "time between signs of life", low=0.1, high=600
    )
    standby: bool = _setting(
        False, "keep a copy of what other workers own, in memory", allowed="true or false"
    )
    transaction_timeout_seconds: float = _seconds(
        6.0, "time after which the broker aborts a transaction", low=1, high=900
    )
    group_records_max: int = _whole(2_000, "records in one transaction", low=1, high=100_000)
    group_bytes_max: int = _whole(
        4 * 1024 * 1024, "bytes in one transaction", low=1_000, high=1_000_000_000
    )
    # A visit costs worker and broker 602 us of a core in transactions of 40, 339 in those of 2,000;
    # but while an outage is caught up, purchases wait for what is in flight: p99 4.6 x with 64.
    group_timed_max: int = _whole(
        64, "due waits and visits in one transaction", low=1, high=100_000
    )
    group_beside_max: int = _whole(16, "the same while events come", low=1, high=100_000)
    group_decide_seconds: float = _seconds(
        0.05, "time to decide for one transaction", low=0.001, high=10
    )
    # Above 200 records a second. At 1,000 a second some 8 ms halve the worker's processor time.
    fetch_gather_seconds: float = _seconds(
        0.008, "time for which the broker gathers records under load; 0 never", low=0, high=1
    )
    group_interval_seconds: float = _seconds(
        0.008, "from the begin of a transaction to that of the next, at least", low=0, high=1
    )
    watchdog_seconds: float = _seconds(
        30.0, "lag without progress for so long ends the worker", low=1, high=3600
    )
    failpoint: str = _setting(
        "",
        "tests only: where the worker dies",
        allowed="name[:nth[:kill|stop]]",
        pattern=r"^([a-z_]+(:[0-9]+(:(kill|stop))?)?)?$",
    )

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        if self.transaction_timeout_seconds > self.session_timeout_seconds:
            raise _MisfitError(
                "transaction_timeout_seconds",
                self.transaction_timeout_seconds,
                f"at most session_timeout_seconds ({self.session_timeout_seconds:g}), or a dead "
                "worker's transaction outlives its membership and holds up its successor",
            )
        if self.heartbeat_interval_seconds * 3 > self.session_timeout_seconds:
            raise _MisfitError(
                "heartbeat_interval_seconds",
                self.heartbeat_interval_seconds,
                f"at most a third of session_timeout_seconds ({self.session_timeout_seconds:g})",
            )
        if self.group_decide_seconds * 4 > self.transaction_timeout_seconds:
            raise _MisfitError(
                "group_decide_seconds",
                self.group_decide_seconds,
                "at most a quarter of transaction_timeout_seconds "
                f"({self.transaction_timeout_seconds:g})",
            )
        return self


class ApiSettings(BaseModel):
    """The HTTP API: where it listens, who may ask, where its read model is, how much it takes."""

    api_host: str = _setting("127.0.0.1", "address of the API", allowed="an address of ours")
    api_port: int = _whole(8080, "port of the API; 0 takes a free one", low=0, high=65535)
    api_data_dir: Path = _setting(
        Path(".orchestrator/api"),
        "folder of the read model, one for each process",
        allowed="a folder",
    )
    api_tokens: SecretStr | None = _setting(
        None,
        "who may ask, a line each: name scopes sha256:digest",
        allowed="the environment variable, or a file named by api_tokens_file",
    )
    api_tokens_file: Path | None = _setting(
        None, "file with a line for each token", allowed="a readable file"
    )
    api_session_secret: SecretStr | None = _setting(
        None,
        "seals who is signed in at the screen; the same for all copies, else each has its own",
        allowed="the environment variable, or a file named by api_session_secret_file",
    )
    api_session_secret_file: Path | None = _setting(
        None, "file that holds it; further lines still open", allowed="a readable file"
    )
    api_metrics_port: int = _whole(9465, "port of its /metrics; 0 is off", low=0, high=65535)
    api_requests_per_second: float = _setting(
        200.0,
        "requests of one token; 0 is without a limit",
        allowed="a number, 0 to 1000000",
        ge=0,
        le=1_000_000,
    )
    api_body_bytes_max: int = _whole(2_000_000, "bytes of a request", low=1_000, high=100_000_000)
    api_timeout_seconds: float = _seconds(30.0, "time for one request", low=1, high=600)
    api_wait_seconds: float = _seconds(
        5.0, "how long a read waits for the effect of an event", low=0.01, high=60
    )
    api_timeline_days: int = _whole(90, "days of a customer's timeline", low=1, high=3650)
    api_timeline_entries_max: int = _whole(
        1_000, "entries of a customer's timeline", low=10, high=100_000
    )

    @field_validator("api_tokens_file", "api_session_secret_file")
    @classmethod
    def _secrets_readable(cls, value: Path | None) -> Path | None:
        return _readable_file(value)


class LogSettings(BaseModel):
    """What is written to stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "least severe line to write", allowed="debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "human"] = _setting(
        "auto", "auto is human on a terminal and JSON elsewhere", allowed="auto, json or human"
    )


class _MisfitError(ValueError):
    """Two settings that do not fit together; names the one to change and what it may be."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} {value} does not fit")
        self.name = name
        self.value = value
        self.allowed = allowed


class Settings(
    BaseSettings,
    ConnectionSettings,
    TopicSettings,
    JourneySettings,
    RegistrySettings,
    WorkerSettings,
    ApiSettings,
    LogSettings,
):
    """All groups in one frozen object.

    Variables of our prefix that are no setting are ignored: Kubernetes invents some for every
    service that is called like us.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    @classmethod
    def load(cls, *, config: Path | str | None = None, **options: Any) -> Self:
        """Read options over environment over TOML over defaults; a `None` option is not given."""
        given = {name: value for name, value in options.items() if value is not None}
        path = config or os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG") or None
        file = _read_toml(Path(path), frozenset(cls.model_fields)) if path else {}
        environment = EnvSettingsSource(cls)()
        for name in SECRETS & given.keys():
            if not isinstance(given[name], SecretStr):
                raise UsageError(_secret_in(f"--{_dashed(name)}", name))
        try:
            settings = cls(**{**file, **environment, **given})
        except ValidationError as error:
            origin = _Origin(given=given, environment=environment, file=path)
            raise UsageError(_explain(error, origin)) from None
        return settings._with_secrets_from_files()

    def _with_secrets_from_files(self) -> Self:
        """Read the files that hold secrets; a deployment mounts them where `ps` cannot look."""
        read: dict[str, SecretStr] = {}
        for name in sorted(SECRETS):
            path: Path | None = getattr(self, f"{name}_file")
            if path is None:
                continue
            if getattr(self, name) is not None:
                raise UsageError(f"{name} and {name}_file are both set; allowed: one of them")
            read[name] = SecretStr(path.read_text(encoding="utf-8").rstrip("\r\n"))
        if "SASL" in self.security_protocol and not (
            self.sasl_username and (self.sasl_password or read.get("sasl_password"))
        ):
            raise UsageError(
                f"security_protocol: {self.security_protocol} without a login; allowed: together "
                "with sasl_username and sasl_password (environment) or sasl_password_file"
            )
        return self.model_copy(update=read) if read else self


class _Origin:
    """Where each value came from, so that a message names what the reader wrote."""

    def __init__(
        self, *, given: dict[str, Any], environment: dict[str, Any], file: Path | str | None
    ) -> None:
        self._given = given
        self._environment = environment
        self._file = file

    def name(self, field: str) -> str:
        if field in self._given:
            return f"--{_dashed(field)}"
        if field in self._environment:
            return ENVIRONMENT_PREFIX + field.upper()
        return f"{field} in {self._file}" if self._file else field


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _secret_in(place: str, name: str) -> str:
    allowed = allowed_values(name)
    return f"{place}: a secret must not stand there; allowed: {allowed}"


def allowed_values(name: str) -> str:
    """Say what a setting may be, for its help and for a refusal."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""


def _read_toml(path: Path, known: frozenset[str]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"--config: {path}: {reason}; allowed: a readable TOML file") from None
    for name in values:
        if name in SECRETS:
            raise UsageError(_secret_in(f"{name} in {path}", name))
        if name not in known:
            raise UsageError(
                f"{name} in {path}: no such setting; allowed: {', '.join(sorted(known - SECRETS))}"
            )
    return values


def _explain(error: ValidationError, origin: _Origin) -> str:
    """Put all that is wrong into one line."""
    return "; ".join(_explain_one(dict(found), origin) for found in error.errors())


def _explain_one(found: dict[str, Any], origin: _Origin) -> str:
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, _MisfitError):
        return f"{origin.name(cause.name)}: {cause.value:g} does not fit; allowed: {cause.allowed}"
    field = str(found["loc"][0])
    if field not in Settings.model_fields:
        return f"{field}: no such setting"
    if cause is not None:
        wrong = str(cause)
    else:
        # The input is shown as it came, but never when it is a secret.
        shown = "the value" if field in SECRETS else repr(found["input"])
        wrong = f"{shown} is refused"
    return f"{origin.name(field)}: {wrong}; allowed: {allowed_values(field)}"
