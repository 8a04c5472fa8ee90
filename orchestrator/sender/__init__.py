"""The kit for channel teams: with it a sender consumes its command topics correctly.

    from orchestrator.sender import Command, Delivered, Options, Outcome, Sender

    async def deliver(command: Command) -> Outcome: ...

    await Sender(Settings.load(), "email", deliver).run()

It knows the contract, which is JSON on topics, and nothing of the orchestrator's core.
`docs/senders.md` says what it promises.
"""

from orchestrator.sender.options import Options
from orchestrator.sender.rules.command import Command
from orchestrator.sender.rules.outcome import Bounced, Delivered, Failed, Outcome, Retry, Unknown
from orchestrator.sender.sender import Sender

__all__ = [
    "Bounced",
    "Command",
    "Delivered",
    "Failed",
    "Options",
    "Outcome",
    "Retry",
    "Sender",
    "Unknown",
]
