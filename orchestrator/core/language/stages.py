"""How the stages of a customer are declared in `shop.yaml`, in their order."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.core.language.scalars import Condition, EventType, Model, Name, Text, listed

STAGES_MAX: Final = 16
# Every event that counts for a stage is kept in the customer's state, in a few bytes.
TIMES_MAX: Final = 20


class Way(Model):
    """An event that earns a stage; a bare event type is short for `{event: …}`."""

    event: EventType
    """Event type. A purchase counts as long as its order stands: one that is cancelled or comes
    back as a whole is as if it had never been."""
    when: Condition | None = None
    """Condition over `event` and `profile`, after the event was applied to it; `profile.stage` is
    the stage before. Other events of the type do not count."""
    times: int = Field(default=1, ge=1, le=TIMES_MAX)
    """How many such events it takes."""

    @model_validator(mode="before")
    @classmethod
    def _from_type(cls, value: object) -> object:
        return {"event": value} if isinstance(value, str) else value


class CustomerStage(Model):
    """One stage, written in the order in which customers come through them.

    Customers stand in the first stage until they earn a later one. They go to the furthest one
    that they have earned, and may leave out those between; they go back only when an order by
    which they earned a stage is gone. Conditions read it as `profile.stage`.
    """

    name: Name
    """Its name, as `profile.stage` has it."""
    on: Annotated[tuple[Way, ...], BeforeValidator(listed)] = Field(default=(), max_length=8)
    """What earns it: an event type, `{event: purchase, times: 3}`, or a list of such, each of
    which is enough. The first stage has none."""
    requires: tuple[Text, ...] = Field(default=(), max_length=16)
    """Attributes of the profile without which nobody goes on to this stage or a later one. Who has
    earned it goes on as soon as they are known, and stays when they are forgotten."""
