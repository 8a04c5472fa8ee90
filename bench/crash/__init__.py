"""Fifty thousand events, workers and a broker that are killed, and a judge who reads only topics.

`plan` writes the story from a seed, `load` tells it to the broker, `fleet` keeps workers running,
`faults` takes them down, `history` reads the topics back, `reference` replays them with its own
idea of what the journeys mean, `checker` compares. `defects` are bugs planted in the worker, so
that the judge is judged too. Run it with `make crash` or `python -m bench.crash --seed 1`.
"""
