"""`orchestrator sender`: wrong usage is told in one line, and the sidecar works end to end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from click.testing import CliRunner

from orchestrator.cli import run
from orchestrator.cli.sender import sender
from tests.sender.channel import until
from tests.sender.test_http import Receiver


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["email"], "exactly one of --to URL, --smtp HOST:PORT, --webhook URL"),
        (["email", "--to", "http://a/", "--smtp", "b:25"], "exactly one of"),
        (["email", "--webhook", "https://partner.example/"], "ORCHESTRATOR_WEBHOOK_KEY"),
        (["email", "--smtp", "localhost"], "HOST:PORT"),
        (["email", "--smtp", "localhost:25"], "--addresses"),
        (["e mail", "--to", "http://a/"], "is not a channel"),
        (["email", "--to", "nowhere"], "is no URL"),
        (["email", "--to", "http://a/", "--in-flight", "0"], "in_flight_max"),
        (["email", "--to", "http://a/", "--per-second", "0"], "per_second"),
    ],
)
def test_wrong_usage_says_what_is_allowed(arguments, told, capsys):
    assert run(["sender", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_help_has_examples_and_names_no_secret_option():
    text = CliRunner().invoke(sender, ["--help"], terminal_width=200).output

    assert "orchestrator sender sms --to" in text
    assert "--webhook-key" not in text
    assert "--smtp-password" not in text


def test_a_missing_topic_stops_it_with_a_reason(kafka, topic_prefix, capsys):
    where = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", topic_prefix]

    assert run(["sender", "email", "--to", "http://127.0.0.1:9/", *where]) == 1
    assert "`orchestrator topics` creates it" in capsys.readouterr().err


async def test_the_sidecar_posts_what_may_go_and_stops_when_told(channel, tmp_path):
    receiver = Receiver()
    await receiver.start()
    allow = tmp_path / "allow"
    allow.write_text("ana\n")
    channel.send(
        channel.command("c1", mode="test"), channel.command("c2", mode="test", subject="ben")
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "sender", "email", "--to", receiver.url),
        *("--allow", str(allow)),
        env=os.environ
        | {
            "ORCHESTRATOR_BOOTSTRAP_SERVERS": channel.bootstrap_servers,
            "ORCHESTRATOR_TOPIC_PREFIX": channel.prefix,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await until(lambda: len(channel.reports()) == 2, "two reports")
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
        await receiver.stop()

    assert process.returncode == 0, log
    assert [headers["Idempotency-Key"] for headers, _ in receiver.requests] == ["c1"]
    assert channel.reports() == {"c1": ["message.delivered"], "c2": ["message.dropped test"]}
    assert b'"ana"' not in log
