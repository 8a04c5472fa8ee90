"""The planted bugs still hit what they mean: a bug that is planted nowhere is found nowhere."""

from __future__ import annotations

import subprocess
import sys

from bench.crash.defects import DEFECTS
from bench.crash.faults import NAMED

PLANT_ALL = """
from bench.crash.defects import DEFECTS
for name, defect in DEFECTS.items():
    defect.plant()
"""


def test_every_bug_can_be_planted_in_the_worker_of_today():
    """In a process of its own, because they stay."""
    planted = subprocess.run(
        [sys.executable, "-c", PLANT_ALL], capture_output=True, text=True, check=False
    )

    assert planted.stderr == ""
    assert planted.returncode == 0


def test_every_bug_is_brought_to_light_by_faults_that_exist():
    named = {fault for defect in DEFECTS.values() for fault in defect.faults}

    assert named <= set(NAMED)
    assert len(DEFECTS) >= 8
