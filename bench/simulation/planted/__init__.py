"""Bugs planted one at a time: each must be found, or a history without a violation says nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bench.simulation.planted.core import CORE
from bench.simulation.planted.driver import DRIVER
from bench.simulation.planted.protocol import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOMS: Final = {"driver": DRIVER, "protocol": PROTOCOL, "core": CORE}
PLANTED: Final[Mapping[str, Callable[..., None]]] = {**DRIVER, **PROTOCOL, **CORE}


def room_of(name: str) -> str:
    """Return the room in which a bug is planted."""
    return next(room for room, bugs in ROOMS.items() if name in bugs)


def meaning_of(name: str) -> str:
    """Return what a bug does, in a sentence."""
    return " ".join((PLANTED[name].__doc__ or name).split("\n\n")[0].split())


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have this bug in the running process for a while."""
    before: list[tuple[Any, str, Any]] = []

    def put(owner: Any, attribute: str, replacement: Any) -> None:
        # A bug that is planted nowhere would be found nowhere.
        if not hasattr(owner, attribute):
            raise AttributeError(f"{owner} has no {attribute} any more: plant {name} anew")
        held = vars(owner).get(attribute, getattr(owner, attribute))
        before.append((owner, attribute, held))
        setattr(owner, attribute, replacement)

    try:
        PLANTED[name](put)
        yield
    finally:
        for owner, attribute, held in reversed(before):
            setattr(owner, attribute, held)
