"""The command line: verbs, help, and the exit codes that scripts and supervisors rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator import cli
from orchestrator.cli import VERBS, run
from orchestrator.cli.options import ALL_GROUPS, with_settings
from orchestrator.errors import DependencyError, InvariantViolated, JourneyError, UsageError
from orchestrator.settings import SECRETS, ApiSettings, Settings

ROOT = Path(__file__).parents[2]


def add_verb(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Put a verb on the command line that raises this."""

    @click.command()
    def verb() -> None:
        if error is not None:
            raise error

    module = type(cli)("orchestrator.cli.tried")
    module.verb = verb
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "_exists", lambda _target: True)
    monkeypatch.setitem(VERBS, "tried", (f"{module.__name__}:verb", "Try."))


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (None, 0, ""),
        (DependencyError("no broker\nat all"), 1, "orchestrator: no broker at all\n"),
        (JourneyError(("a.yaml:1: x", "b.yaml:2: y")), 1, "a.yaml:1: x\nb.yaml:2: y\n"),
        (UsageError("--slot: is taken; allowed: b"), 2, "orchestrator: --slot: is taken; allow"),
        (InvariantViolated("sequence gap"), 70, "orchestrator: sequence gap\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_verb_raises_becomes_an_exit_code_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    code: int,
    told: str,
):
    add_verb(monkeypatch, error)

    assert run(["tried"]) == code
    assert capsys.readouterr().err.strip().startswith(told.strip())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-verb"], "No such command 'no-such-verb'"),
        (["broker", "--port", "99999"], "99999 is not in the range"),
        (["topics", "--no-such-option"], "--no-such-option"),
        (["topics", "--partitions", "0"], "--partitions: '0' is refused; allowed: a whole number"),
        (["topics", "--config", "/no/such.toml"], "--config: /no/such.toml: No such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
):
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""


def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]):
    for verb in cli.orchestrator.list_commands(click.Context(cli.orchestrator)):
        assert run([verb, "--help"]) == 0, verb
        text = capsys.readouterr().out
        assert "Example" in text, f"{verb} --help has no example"
        assert f"orchestrator {verb}" in text.split("Example", 1)[1], verb


def test_the_help_names_every_verb_that_is_there(capsys: pytest.CaptureFixture[str]):
    assert run([]) == 0
    text = capsys.readouterr().out
    for verb in cli.orchestrator.list_commands(click.Context(cli.orchestrator)):
        assert f"\n  {verb} " in text


def test_the_help_answers_without_importing_a_kafka_client():
    code = "import sys; from orchestrator.cli import run; run(['--help']); "
    code += "sys.exit(bool({'aiokafka', 'faust', 'pydantic_settings', 'rich'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0


def test_every_setting_but_the_secrets_is_an_option_with_its_variable():
    @click.command()
    @with_settings(*ALL_GROUPS, ApiSettings)
    def verb(settings: Settings) -> None:
        click.echo(settings.partitions)

    options = {option.name: option for option in verb.params}
    for name in set(Settings.model_fields) - SECRETS:
        assert f"ORCHESTRATOR_{name.upper()}" in (options[name].help or ""), name
    assert not SECRETS & set(options)


def test_python_dash_m_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("orchestrator, version ")
