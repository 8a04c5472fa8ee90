"""The command line: finds the verb, runs it, turns what it raises into an exit code.

A verb is a click command in a module of this room, imported only when it is asked for, so that
`orchestrator --help` answers at once and a verb costs nothing to the others. Exit codes: 0 fine;
1 it ran and found a problem; 2 wrong usage or settings; 70 the worker wants a restart.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from typing import TYPE_CHECKING

import click

from orchestrator import __version__
from orchestrator.errors import JourneyError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence

# verb: (module:attribute, what the help says). The order is that of a first day.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("orchestrator.cli.demo:demo", "Play a day in the life of a small shop."),
    "run": ("orchestrator.cli.run:run", "Keep broker, topics and workers up until Ctrl-C."),
    "broker": ("orchestrator.cli.broker:broker", "Run the embedded Apache Kafka."),
    "topics": ("orchestrator.cli.topics:topics", "Create missing topics, report drift."),
    "worker": ("orchestrator.cli.worker:worker", "Run one worker."),
    "check": ("orchestrator.cli.authoring.check:check", "Report every finding in the journeys."),
    "publish": (
        "orchestrator.cli.authoring.publish:publish",
        "Make a folder of journeys the one that runs.",
    ),
    "pause": ("orchestrator.cli.pause:pause", "Hold back what goes out, or drop it."),
    "resume": ("orchestrator.cli.pause:resume", "Let go out again what is paused."),
    "simulate": ("orchestrator.cli.authoring.simulate:simulate", "Play scenarios in virtual time."),
    "explain": ("orchestrator.cli.explain:explain", "Say what a customer got or not, and why."),
    "export": (
        "orchestrator.cli.privacy.export:export",
        "Tell everything known of a customer.",
    ),
    "erase": ("orchestrator.cli.privacy.erase:erase", "Forget customers, and prove it."),
    "replay": ("orchestrator.cli.replay:replay", "Make recorded decisions again and compare them."),
    "docs": ("orchestrator.cli.authoring.docs:docs", "Write a site about the journeys."),
    "dead-letters": (
        "orchestrator.cli.dead_letters:dead_letters",
        "List records that could not be applied, or put them back.",
    ),
    "sender": ("orchestrator.cli.sender:sender", "Deliver the commands of a channel."),
    "schemas": ("orchestrator.cli.authoring.schemas:schemas", "Write the schemas of all topics."),
}

_EPILOG = """\b
Settings:
  Each is an option, a variable ORCHESTRATOR_… and a key of the file --config, in that order.
  `orchestrator worker --help` shows all of them.

\b
Examples:
  orchestrator demo
  orchestrator worker --bootstrap-servers kafka-1:9092 --partitions 8 --slot 0

\b
Exit codes: 0 fine, 1 it found a problem, 2 wrong usage or settings, 70 the worker wants a restart.
"""


class _Verbs(click.Group):
    """A group that imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [verb for verb, (target, _) in VERBS.items() if _exists(target)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS or not _exists(VERBS[cmd_name][0]):
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(verb, VERBS[verb][1]) for verb in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _exists(target: str) -> bool:
    return importlib.util.find_spec(target.partition(":")[0]) is not None


@click.group(
    cls=_Verbs,
    epilog=_EPILOG,
    options_metavar="",
    subcommand_metavar="COMMAND [OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="orchestrator")
def orchestrator() -> None:
    """Give every customer one consistent conversation over all channels, exactly once, on Kafka."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        code = orchestrator.main(args=arguments, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "orchestrator"
        click.echo(f"{where}: {error.format_message()} See `{where} --help`.", err=True)
        return 2
    except click.ClickException as error:
        click.echo(f"orchestrator: {error.format_message()}", err=True)
        return 2
    except JourneyError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except OrchestratorError as error:
        click.echo(f"orchestrator: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        # What a shell reports for a command ended by Ctrl-C.
        return 128 + signal.SIGINT
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the program `orchestrator`."""
    sys.exit(run())
