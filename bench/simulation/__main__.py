"""`make simulate`: histories by seed, judged; a seed that fails is cut down and told as a story.

With `--defects` bugs are planted one at a time, and each must be found. Exit 0 when nothing is
wrong with the product (or every bug is found), else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench.simulation.hunt import DEFECT_SECONDS_MAX, Found, hunt, hunt_defect, judged
from bench.simulation.plan import everywhere, plan_of, play
from bench.simulation.planted import PLANTED, meaning_of, planted, room_of
from bench.simulation.shrink import shrink, story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.simulation.plan import Plan

KNOWN = Path(__file__).parent / "known.json"
TOLD_EVERY = 1_000


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    options = _options(words)
    if options.defects or options.defect:
        return _hunt_all(options.defect or list(PLANTED), record=options.record)
    if options.everywhere is not None:
        return _everywhere(options.everywhere)
    if options.seed is not None:
        return _one(options.seed, full=options.story)
    return _many(options.first, options.histories)


def _one(seed: int, *, full: bool) -> int:
    """Play one seed, and tell what is wrong with it."""
    plan = plan_of(seed)
    if full:
        _tell(*story(plan))
    found = judged(plan)
    cluster = play(plan)
    about = f"{len(plan.acts)} acts, {cluster.actions} actions of workers"
    _tell(f"seed {seed} ({plan.flavour}): {about}, topics {cluster.digest()}")
    if not found:
        _tell("nothing is wrong")
        return 0
    _explain(plan, found)
    return 1


def _everywhere(seed: int) -> int:
    """Let a worker die behind each of the actions of a history, one after the other."""
    done = 0
    for done, plan in enumerate(everywhere(seed), 1):
        found = judged(plan)
        if found:
            _tell(f"seed {seed} fails with a death behind action {done}")
            _explain(plan, found)
            return 1
    _tell(f"seed {seed}: a death behind each of {done} actions, nothing is wrong")
    return 0


def _many(first: int, histories: int) -> int:
    """Play seeds one after the other until one fails."""
    began = time.monotonic()

    def seen(done: int) -> None:
        if done % TOLD_EVERY == 0:
            minutes = (time.monotonic() - began) / 60
            _tell(f"{done:,} histories, {done / minutes:,.0f} a minute, nothing wrong")

    cpu = time.process_time()
    found = hunt(range(first, first + histories), seconds_max=float("inf"), seen=seen)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    if found is None:
        rate = f"{histories / seconds * 60:,.0f} a minute, {histories / cpu * 60:,.0f} on one core"
        _tell(f"{histories:,} histories from seed {first} on, {rate}: nothing is wrong")
        return 0
    _tell(f"seed {found.seed} fails after {found.histories:,} histories")
    _explain(plan_of(found.seed), found.violations)
    return 1


def _explain(plan: Plan, found: list[tuple[str, str]]) -> None:
    """Tell what was found, and the shortest story that shows it."""
    for check, what in found[:10]:
        _tell(f"  {check}: {what}")
    _tell("cutting it down ...")
    small = shrink(plan)
    _tell(f"{len(small.acts)} of {len(plan.acts)} acts are enough:", *story(small))
    for check, what in judged(small)[:10]:
        _tell(f"  {check}: {what}")
    _tell(f"again: make simulate SEED={plan.seed}")


def _hunt_all(names: Sequence[str], *, record: bool) -> int:
    """Plant bugs one after the other; print a table of what has found each."""
    known = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    missed = []
    _tell(
        "| bug | planted in | found by | histories | seconds | seed |", "|---|---|---|---|---|---|"
    )
    for name in names:
        found = hunt_defect(name, count())
        if found is None:
            missed.append(name)
            _tell(f"| {meaning_of(name)} | {room_of(name)} | **not found** | | | |")
            continue
        known[name] = found.seed
        _tell(f"| {meaning_of(name)} | {room_of(name)} | {_checks(found)} |")
    if record:
        KNOWN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    limit = f"within {DEFECT_SECONDS_MAX:.0f} s of one core each"
    _tell(f"{len(names) - len(missed)} of {len(names)} bugs are found, {limit}")
    return 1 if missed else 0


def _checks(found: Found) -> str:
    checks = ", ".join(found.checks[:3])
    return f"{checks} | {found.histories} | {found.seconds:.1f} | {found.seed}"


def known_seed(name: str) -> list[tuple[str, str]]:
    """Judge a bug on the seed that is known to find it."""
    with planted(name):
        return judged(plan_of(json.loads(KNOWN.read_text(encoding="utf-8"))[name]))


def _tell(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one history")
    parser.add_argument("--story", action="store_true", help="with --seed: tell all of it")
    parser.add_argument("--everywhere", type=int, metavar="SEED", help="crash at every action")
    parser.add_argument("--histories", type=int, default=1_000, help="how many; default 1,000")
    parser.add_argument("--first", type=int, default=0, help="the first seed; default 0")
    parser.add_argument("--defects", action="store_true", help="plant every bug, and find it")
    parser.add_argument("--defect", action="append", choices=sorted(PLANTED), help="only this bug")
    parser.add_argument("--record", action="store_true", help="note for the tests which seed finds")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
