"""`millstream topics`: create what is missing, describe what there is."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from millstream.streams.settings import load_settings
from millstream.streams.topics import TopicState, describe_topics, ensure_topics


@click.command("topics")
@click.option("--describe", is_flag=True, help="Only describe; create nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, describe: bool, as_json: bool) -> None:
    """Create the topics that are missing, and describe all of them.

    Topics that exist are left as they are; what does not fit is named with the remedy, and the exit status is then 1.

    \b
    Example:
      millstream topics --json
    """
    settings = load_settings()
    states = describe_topics(settings) if describe else ensure_topics(settings)
    problems = [problem for state in states for problem in state.problems]
    if as_json:
        click.echo(json.dumps({"topics": [topic_record(state) for state in states], "problems": problems}))
    else:
        Console().print(_table(states))
        for problem in problems:
            click.echo(f"wrong: {problem}")
    ctx.exit(1 if problems else 0)


def topic_record(state: TopicState) -> dict[str, Any]:
    """Return what `--json` says of one topic."""
    return {
        "name": state.spec.name,
        "purpose": state.spec.purpose,
        "exists": state.exists,
        "created": state.created,
        "topic_id": state.topic_id,
        "partitions": state.partitions,
        "key": state.spec.key,
        "config": state.config,
        "problems": list(state.problems),
    }


def _table(states: tuple[TopicState, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("what it carries, by key")
    table.add_column("partitions", justify="right")
    table.add_column("settings", overflow="fold")
    table.add_column("")
    for state in states:
        carries = f"{state.spec.purpose}, by {state.spec.key}" if state.spec.key else state.spec.purpose
        settings = "\n".join(f"{key}={value}" for key, value in state.config.items())
        standing = "wrong" if state.problems else "created" if state.created else "there"
        table.add_row(state.spec.name, carries, str(state.partitions or ""), settings, standing)
    return table
