"""The `millstream` command: a group that imports a command's code only when that command is typed.

So `millstream --help` answers at once: compiling kernels and importing Faust are paid by the commands that need them.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import click

from .errors import Problem

COMMANDS = {
    "demo": "Watch the whole loop run on a real log, from Kafka to lists in Redis.",
    "up": "Run Kafka and Valkey on this machine, in the foreground.",
    "topics": "Create the topics that are missing, and describe all of them.",
    "worker": "Run the worker: learn from the inputs, publish fresh lists.",
    "replay": "Put a recorded log onto Kafka.",
    "recommend": "Show one user's list, why each item is on it, and how old it is.",
    "why": "Say where an item stands for a user, and what it owes that to.",
    "watch": "Follow refreshed lists as they are published.",
    "serve": "Serve lists over HTTP, and take events and items.",
    "encode": "Make vectors of what items say, so that new ones are recommended.",
    "understand": "Answer searches: what texts mean, and which items they may be about.",
    "search": "Search the catalogue by words, in the order that suits a user.",
    "evaluate": "Measure how well lists predict a recorded log.",
    "tune": "Search the settings that matter on a log, and report on the rest of it.",
    "weights": "Show what each signal of the learned blend counts for.",
    "vector": "Read out the interest vector of a user or an item.",
    "bootstrap": "Begin with a recorded history, then go on in the topics.",
    "rebuild": "Make a fresh model from the log beside the live one, and switch to it.",
    "snapshots": "List what is stored, verify it, or go back to it.",
    "bench": "Measure speed and freshness, each beside its baseline.",
    "chaos": "Do faults to a pipeline of this machine and count what it lost.",
    "dead-letters": "Show what could not be used and why; send it again once mended.",
    "doctor": "Say what is wrong with the set-up, and the remedy.",
}
"""Every command and its one line of help, kept here so that listing them imports none of them."""


class LazyGroup(click.Group):
    """A click group whose command NAME is `command` in `millstream.agents.commands.NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the edges and the settings raise becomes a `Problem`."""
        from millstream.streams.errors import Unavailable
        from millstream.streams.settings import WrongSettings

        try:
            return super().invoke(ctx)
        except (Unavailable, WrongSettings) as error:
            raise Problem(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millstream", prog_name="millstream")
def main() -> None:
    """Turn Kafka streams of clicks into fresh recommendations in Redis.

    Settings come from millstream.toml and MILLSTREAM_* variables. Start with `millstream demo`; when something does
    not work, `millstream doctor` says what and why.
    """
    # what its client logs about lost connections, our own errors say with a remedy
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main()
