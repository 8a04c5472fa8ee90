"""Everything the orchestrator raises, sorted by who has to act. The core raises none of it.

OrchestratorError
├── UsageError           the operator must act   a setting or an argument is wrong; exit code 2
├── JourneyError         the author must act     findings with file and line; nothing starts
├── EventRejected        the producer must act   becomes a dead letter; the worker goes on
├── DependencyError      the world must recover  missing topic, denied ACL, broker away; exit code 1
└── WorkerGaveUp         a supervisor must act   restart me; exit code 70
    └── InvariantViolated    we must act         a rule of ours does not hold; never continue
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """Base of all errors; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(OrchestratorError):
    """A setting or argument is wrong; the message says which, what was given, what is allowed."""

    exit_code = 2


class JourneyError(OrchestratorError):
    """The journeys folder has findings; `findings` holds one printable line for each."""

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class EventRejected(OrchestratorError):
    """A record cannot become an event.

    `reason` is one of the dead-letter reasons of the contract, `detail` names the field.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DependencyError(OrchestratorError):
    """Something outside is missing or denied: a topic, an ACL, a partition count, the broker."""


class WorkerGaveUp(OrchestratorError):
    """The worker cannot know that its last step held; a restart recovers from the log."""

    exit_code = 70


class InvariantViolated(WorkerGaveUp):
    """A rule that must always hold does not; going on could send something twice."""
