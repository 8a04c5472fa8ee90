"""The AsyncAPI document holds together, names every topic, and pleases AsyncAPI's own parser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.broker.artifacts import cache_dir
from orchestrator.core.language.shop import Channel
from orchestrator.protocol.asyncapi import asyncapi_document
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.topics import Topics
from orchestrator.settings import TopicSettings

SCHEMAS = Path(__file__).parents[2] / "schemas"
PARSER_VERSION = "3.6.3"


def references(value: Any):
    """Yield every `$ref` of a document."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document()
    found = list(references(document))

    assert len(found) > len(PAYLOADS)
    for reference in found:
        if reference.startswith("./"):
            assert (SCHEMAS / reference).is_file(), reference
        else:
            place = document
            for name in reference.removeprefix("#/").split("/"):
                place = place[name]


def test_the_channels_are_the_topics_that_the_orchestrator_makes() -> None:
    topics = Topics.of(TopicSettings(), {"email": Channel(kind="message")})
    channels = asyncapi_document()["channels"].values()

    assert sorted(topic.name for topic in topics.all) == sorted(
        channel["address"].format(channel="email") for channel in channels
    )


def test_every_message_stands_on_a_channel() -> None:
    document = asyncapi_document()
    used = {name for channel in document["channels"].values() for name in channel["messages"]}

    assert used == set(document["components"]["messages"])


def parse(file: Path) -> dict[str, Any]:
    """Run AsyncAPI's parser, installed once into the cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node with npm on the PATH")
    folder = cache_dir() / f"asyncapi-parser-{PARSER_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "installed").exists():
        npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        package = f"@asyncapi/parser@{PARSER_VERSION}"
        try:
            done = subprocess.run(
                [*npm, package],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip("npm took too long to install @asyncapi/parser")
        if done.returncode != 0:
            pytest.skip(f"npm could not install @asyncapi/parser: {done.stderr.strip()[-200:]}")
        (folder / "installed").touch()
    shutil.copy(Path(__file__).with_name("asyncapi_parser.mjs"), folder)
    answer = subprocess.run(
        ["node", "asyncapi_parser.mjs", str(file)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(answer.stdout)


def test_the_parser_of_asyncapi_accepts_the_committed_document() -> None:
    answer = parse(SCHEMAS / "asyncapi.yaml")

    assert answer["errors"] == []
    assert "commands.{channel}.promotional" in answer["channels"]
    assert answer["messages"] == len(asyncapi_document()["components"]["messages"])


def test_the_parser_would_find_a_broken_document(tmp_path) -> None:
    document = asyncapi_document()
    document["operations"]["command"]["action"] = "shout"
    document["operations"]["log"]["channel"]["$ref"] = "#/channels/nowhere"
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    broken = tmp_path / "schemas" / "asyncapi.yaml"
    broken.write_text(yaml.safe_dump(document))

    assert len(parse(broken)["errors"]) >= 2
