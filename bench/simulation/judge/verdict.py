"""All judges of a history, each where it knows the language: the list of what must not be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.simulation.judge import again, reference
from bench.simulation.judge.identity import LEFT, Identities
from bench.simulation.judge.laws import LAWS, letters
from bench.simulation.judge.topics import Topics
from bench.simulation.plan import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.simulation.cluster import Cluster

GAVE_UP = "a worker gave itself up"


def violations(cluster: Cluster, flavour: str) -> list[tuple[str, str]]:
    """Return every breach as the check and what it has found; empty for a sound history."""
    found = [(GAVE_UP, what) for what in cluster.broken]
    try:
        found += judged(cluster, flavour)
    except (KeyError, ValueError, TypeError, AttributeError, LookupError) as error:
        found.append(("a topic cannot be read", repr(error)))
    return found


def judged(cluster: Cluster, flavour: str) -> Iterator[tuple[str, str]]:
    """Yield what the judges find."""
    history = cluster.history()
    topics = Topics(history, cluster.shop)
    for name, law in LEFT.items():
        for what in law(topics):
            yield name, what
    if flavour == "guarded":
        yield from reference.differences(history, cluster.shop)
        yield from again.differences(topics)
        return
    for name, law in LAWS.items():
        for what in law(topics):
            yield name, what
    for what in letters(topics):
        yield "I9 dead letters", what
    yield from again.differences(topics)
    if flavour == "merges":
        for name, what in Identities(topics, GROUPS).violations():
            yield name, what
