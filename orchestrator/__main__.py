"""`python -m orchestrator` is the program `orchestrator`, also where its script is not on PATH."""

from orchestrator.cli import main

main()
