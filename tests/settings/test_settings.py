"""Settings: where a value comes from, and what a wrong one says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.settings import SECRETS, Settings, allowed_values

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    import os

    for name in [name for name in os.environ if name.startswith("ORCHESTRATOR_")]:
        monkeypatch.delenv(name)


def test_an_option_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "orchestrator.toml"
    file.write_text('partitions = 2\nslot = "file"\napp_id = "file"\ninput_topics = ["a", "b"]\n')
    monkeypatch.setenv("ORCHESTRATOR_SLOT", "environment")
    monkeypatch.setenv("ORCHESTRATOR_APP_ID", "environment")
    settings = Settings.load(config=file, app_id="option", mode=None)

    assert settings.app_id == "option"
    assert settings.slot == "environment"
    assert settings.partitions == 2
    assert settings.input_topics == ("a", "b")
    assert settings.mode == "test"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "orchestrator.toml"
    file.write_text("partitions = 3\n")
    monkeypatch.setenv("ORCHESTRATOR_CONFIG", str(file))

    assert Settings.load().partitions == 3


def test_lists_in_the_environment_are_written_with_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORCHESTRATOR_INPUT_TOPICS", "touchpoints, shop-b")

    assert Settings.load().input_topics == ("touchpoints", "shop-b")


def test_settings_cannot_be_changed_after_they_were_read():
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().slot = "other"


def test_variables_of_our_prefix_that_are_no_setting_are_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORCHESTRATOR_SERVICE_HOST", "10.0.0.1")

    assert Settings.load().slot == "0"


WRONG = [
    # setting, value, and what the one line has to hold
    ("partitions", "0", "--partitions: '0' is refused; allowed: a whole number, 1 to 1024"),
    ("partitions", "eight", "--partitions: 'eight' is refused; allowed: a whole number, 1 to 1024"),
    ("mode", "prod", "--mode: 'prod' is refused; allowed: test or live"),
    ("slot", "a b", "--slot: 'a b' is refused; allowed: letters, digits"),
    ("topic_prefix", "ä", "--topic-prefix: 'ä' is refused; allowed: letters, digits"),
    ("input_topics", "", "--input-topics: there is none; allowed: topic names"),
    ("input_topics", "a,a", "--input-topics: a topic is named twice; allowed: topic names"),
    ("input_topics", "a b", "--input-topics: 'a b' is not a topic name; allowed: topic names"),
    ("bootstrap_servers", "kafka", "--bootstrap-servers: 'kafka' is not host:port; allowed: host"),
    ("bootstrap_servers", "a:1,b", "--bootstrap-servers: 'b' is not host:port; allowed: host"),
    ("ssl_cafile", "/no/such", "--ssl-cafile: /no/such cannot be read; allowed: a readable file"),
    ("security_protocol", "TLS", "--security-protocol: 'TLS' is refused; allowed: PLAINTEXT, SSL"),
    ("security_protocol", "SASL_SSL", "SASL_SSL without a login; allowed: together with sasl_user"),
    ("metrics_port", "tcp://10.0.0.1:9464", "allowed: a whole number, 0 to 65535"),
    ("failpoint", "after acks", "--failpoint: 'after acks' is refused; allowed: name[:nth"),
    ("transaction_timeout_seconds", "7", "7 does not fit; allowed: at most session_timeout"),
    ("heartbeat_interval_seconds", "5", "5 does not fit; allowed: at most a third of session"),
    ("group_decide_seconds", "4", "4 does not fit; allowed: at most a quarter of transaction"),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_a_wrong_setting_is_one_line_with_which_what_and_what_is_allowed(
    name: str, value: str, told: str
):
    with pytest.raises(UsageError) as caught:
        Settings.load(**{name: value})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_variable_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORCHESTRATOR_PARTITIONS", "many")

    with pytest.raises(UsageError, match=r"^ORCHESTRATOR_PARTITIONS: 'many' is refused; allowed: "):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partitions = 0", "partitions in .*: 0 is refused; allowed: a whole number"),
        ("partition = 4", "partition in .*: no such setting; allowed: .*app_id, "),
        ("sasl_password = 'hush'", "a secret must not stand there; allowed: the environment"),
        ("partitions =", "allowed: a readable TOML file"),
    ],
)
def test_a_wrong_file_is_told_with_its_path(tmp_path: Path, text: str, told: str):
    file = tmp_path / "orchestrator.toml"
    file.write_text(text)

    with pytest.raises(UsageError, match=told) as caught:
        Settings.load(config=file)
    assert str(file) in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        Settings.load(config=tmp_path / "absent.toml")


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UsageError, match=r"--slot: .*; --mode: .*"):
        Settings.load(slot="a b", mode="prod")


def secrets_from(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    options: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_username": "shop"}
    if source == "file":
        path = tmp_path / "password"
        path.write_text("hush hush\n")
        options["sasl_password_file"] = path
    else:
        monkeypatch.setenv("ORCHESTRATOR_SASL_PASSWORD", "hush hush")
    return Settings.load(**options)


@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_secret_is_read_and_never_shown(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = secrets_from(source, tmp_path, monkeypatch)

    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == "hush hush"
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_refused_where_ps_can_see_it(name: str):
    with pytest.raises(UsageError, match="a secret must not stand there") as caught:
        Settings.load(**{name: "hush"})
    assert "hush" not in str(caught.value)


def test_every_setting_says_what_it_is_and_what_is_allowed():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert allowed_values(name), name
