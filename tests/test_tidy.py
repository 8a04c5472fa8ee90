"""Tests of the code itself: what a reader can rely on. Each failure names the fix."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
ROOM_FILES_MAX = 12
DOCSTRING_LINES_MAX = 12

BANNED_NAMES = {
    "utils": "what it is about",
    "util": "what it is about",
    "helpers": "what it helps with",
    "helper": "what it helps with",
    "manager": "what it does",
    "service": "what it does",
    "common": "what it is about",
    "misc": "what it is about",
    "processor": "what it does",
}

# Kept in pieces, so that this file does not find itself.
BANNED_TEXTS = {
    r"\bindex-" + r"url\b": "installers take their index from the machine; remove the option",
    r"--find-" + r"links": "installers take their sources from the machine; remove the option",
    r"(?<![\w.])/(work|root|home|Users|tmp/plan)" + r"/[\w.]": "name files relative to the clone",
    r"https?://[^\s/'\"]*(artifact|nexus|jfrog|registry|mirror|proxy)[^\s/'\"]*\.": (
        "name no registry; the machine knows its own"
    ),
}
# Text that others wrote, and lists that tools write.
NOT_OURS = {"LICENSE", "requirements.txt", "requirements-dev.txt"}
# What a file may be called that no room counts: the door of a package.
DOORS = {"__init__.py", "__main__.py"}


def tracked() -> list[Path]:
    """Return the files of the project; in a copy without git, the files that are there."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]
    hidden = {".venv", ".venv-rivals", ".git", "build", "dist", "node_modules"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not hidden & set(path.relative_to(ROOT).parts)
    ]


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]
PRODUCT = [path for path in PYTHON if path.is_relative_to(ROOT / "orchestrator")]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_functions_fit_on_a_screen():
    long = []
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{named(path)}:{node.lineno}: {node.name} has {lines} lines")

    assert not long, f"split at the branches, over {FUNCTION_LINES_MAX} lines: {long}"


def test_files_stay_readable_in_one_sitting():
    long = [
        f"{named(path)} has {lines} lines"
        for path in PYTHON
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    ]

    assert not long, f"give a part of it a name of its own, over {FILE_LINES_MAX} lines: {long}"


def test_rooms_stay_small_enough_to_know_by_heart():
    rooms: dict[Path, list[str]] = {}
    for path in PRODUCT:
        if path.name not in DOORS:
            rooms.setdefault(path.parent, []).append(path.name)
    crowded = {
        named(room): len(names) for room, names in rooms.items() if len(names) > ROOM_FILES_MAX
    }

    assert not crowded, f"open a room inside, over {ROOM_FILES_MAX} files: {crowded}"


def test_every_module_says_where_it_stands_in_the_flow():
    for path in PYTHON:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        empty = not path.read_text(encoding="utf-8").strip()

        assert docstring or empty, f"{named(path)}: say in its first lines who calls it and why"
        lines = len((docstring or "").splitlines())
        assert lines <= DOCSTRING_LINES_MAX, f"{named(path)}: {lines} lines; the rest is for docs/"


def test_names_say_what_a_file_is_about():
    for path in PYTHON:
        for part in path.relative_to(ROOT).with_suffix("").parts:
            fix = BANNED_NAMES.get(part)

            assert fix is None, f"{named(path)}: {part!r} says nothing; name it by {fix}"


def test_no_file_knows_the_machine_it_was_written_on():
    found = []
    for path in FILES:
        if path.name in NOT_OURS:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                f"{named(path)}:{number}: {line.strip()[:80]} ({fix})"
                for banned, fix in BANNED_TEXTS.items()
                if re.search(banned, line)
            ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "bench/rivals/requirements.txt"]
)
def test_every_dependency_is_pinned_with_hashes_and_without_addresses(name: str):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith((" ", "#"))]

    assert entries
    for number, line in enumerate(lines):
        if line in entries:
            assert re.match(r"[A-Za-z0-9._-]+==[^ ]+", line), f"{line}: pin it; `make lock`"
            assert "--hash=sha256:" in lines[number + 1], f"{line}: hash it; `make lock`"
    assert "://" not in "\n".join(lines)


def test_the_pins_hold_all_that_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for asked, name in (
        (project["dependencies"], "requirements.txt"),
        (project["optional-dependencies"]["dev"], "requirements-dev.txt"),
    ):
        pinned = {
            canonical(line.split("==")[0])
            for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
            if "==" in line and not line.startswith(" ")
        }
        wanted = {canonical(re.split(r"[<>=!~;\[ ]", entry)[0]) for entry in asked}

        assert wanted <= pinned, f"{name} lacks {sorted(wanted - pinned)}; `make lock`"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PAGES = [path for path in FILES if path.suffix == ".md" and path.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_that_a_page_names_exists(page: Path):
    """A map that names a room which is gone sends the reader into a wall."""
    top = {path.relative_to(ROOT).parts[0] for path in FILES}
    for quoted in re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8")):
        path = quoted.rstrip("/.,:").partition(":")[0]
        is_path = "/" in path and path.split("/")[0] in top and not set(path) & set("<>{}*…$")
        exists = (ROOT / path).exists() or (page.parent / path).exists()

        assert not is_path or exists, f"{named(page)}: {quoted} does not exist"


def test_every_target_that_a_page_names_is_in_the_makefile():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert target in targets, f"{named(page)}: `make {target}` does not exist"


def test_every_target_explains_itself():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()) - {"kafka"}
    told = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))

    assert phony == told


def test_the_changelog_has_an_unreleased_part_and_known_shelves():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    shelves = set(re.findall(r"^### (.*)$", text, re.MULTILINE))

    assert "## [Unreleased]" in text
    assert shelves <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
