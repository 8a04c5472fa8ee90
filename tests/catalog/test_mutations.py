"""Whatever stands in a file, reading it gives findings or journeys, quickly, and never raises.

Valid files are damaged at random: as text, by lines, and as words in the places of other words.
The seed is fixed, so that a failure comes again; its number is in the message.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import time
from pathlib import Path

import pytest

from orchestrator.catalog import read

JOURNEYS = Path(__file__).parents[2] / "journeys"
# MUTATIONS=20000 takes some minutes; it was run when this was written.
MUTATIONS = int(os.environ.get("MUTATIONS", "2000"))
READ_MEMORY_KIB_MAX = 200_000
# Of the processor, so that a busy machine does not count. A quadratic reader takes minutes.
READ_SECONDS_MAX = 1.0

PIECES = (
    *("- ", ": ", "\n", "  ", "\t", "{", "}", "[", "]", '"', "'", "#", "&a ", "*a", "!!int ", "<<"),
    *("|", ">", "---\n", "...\n", "%", "@", "`", "? ", "~", "null", "true", "on", "NaN", ".inf"),
    *("\0", "\ufeff", "\u2028", "é", "💥", "0x10", "1e999", "9" * 400, "-1", "[" * 60, "{a: " * 40),
    *("event.data.", "trigger", "profile.x", "(" * 200, ").exists(i, ", " || ", "i.i.i", "\\"),
    *("1d", "P", "PT", "0s", "send", "wait", "branch", "next", "steps", "when", "id", "exits"),
)


def _damaged(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at, line = chance.randrange(len(text) + 1), chance.randrange(len(lines))
        match chance.randrange(8):
            case 0:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 20) :]
            case 2:
                lines.insert(line, lines[chance.randrange(len(lines))])
                text = "\n".join(lines)
            case 3:
                del lines[line]
                text = "\n".join(lines)
            case 4:
                lines[line] = " " * chance.randint(1, 4) + lines[line]
                text = "\n".join(lines)
            case 5:
                key, colon, _ = lines[line].partition(":")
                lines[line] = key + colon + " " + chance.choice(PIECES)
                text = "\n".join(lines)
            case 6:
                words = text.split(" ")
                one, other = chance.randrange(len(words)), chance.randrange(len(words))
                words[one] = words[other]
                text = " ".join(words)
            case _:
                text = (
                    text[:at]
                    + chr(chance.choice((1, 0x7F, 0x85, 0xA0, 0xFFFE, 0x1F4A5)))
                    + text[at:]
                )
    return text


@pytest.mark.timeout(3_000)
def test_a_damaged_file_gives_findings_or_journeys(tmp_path: Path) -> None:
    """No exception, no read over a second or 200 MB, every finding has its line."""
    folder = tmp_path / "journeys"
    shutil.copytree(JOURNEYS, folder)
    shutil.rmtree(folder / "templates" / "web")
    originals = {path: path.read_text() for path in sorted(folder.rglob("*.yaml"))}
    kept = {path for path in originals if path.parent != folder}
    kept |= {folder / f"{name}.yaml" for name in ("shop", "channels", "cart_abandonment")}
    for path in originals.keys() - kept:
        path.unlink()
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chance = random.Random(20261122)
    sound = 0
    for number in range(MUTATIONS):
        path = chance.choice(list(originals))
        damaged = _damaged(originals[path], chance)
        path.write_text(damaged, encoding="utf-8", errors="replace")
        started = time.process_time()
        try:
            reading = read(folder)
        except Exception as error:
            raise AssertionError(f"mutation {number} of {path.name} raised:\n{damaged}") from error
        seconds = time.process_time() - started
        if path in kept:
            path.write_text(originals[path])
        else:
            path.unlink()

        assert seconds < READ_SECONDS_MAX, f"mutation {number} of {path.name}:\n{damaged}"
        assert (reading.journeys is None) == bool(reading.findings)
        lines = damaged.count("\n") + 1
        for finding in reading.findings:
            assert 1 <= finding.line <= max(lines, 1_000)
            assert "\n" not in str(finding), f"mutation {number} of {path.name}:\n{damaged}"
        sound += reading.journeys is not None

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib
    assert grown_kib < READ_MEMORY_KIB_MAX
    # Comments and free text may be damaged without harm, the rest may not.
    assert 0.02 * MUTATIONS < sound < 0.7 * MUTATIONS
