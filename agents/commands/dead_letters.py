"""`millstream dead-letters`: what was rejected and why; sends it again once the cause is mended."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from millstream.agents.redrive import Plan, plan, redrive
from millstream.schemas.records import DeadLetter
from millstream.streams.settings import Settings, load_settings
from millstream.streams.standing_letters import Standing, standing_letters

_LINE_EVERY_S = 5.0
_SHOWN = 20
_SHOWN_BYTES = 60


@click.command("dead-letters")
@click.option("--reason", "reasons", multiple=True, metavar="CODE", help="Only of this reason; repeatable.")
@click.option("--topic", help="Only records of this topic.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Show the newest N ({_SHOWN} if not given); with --redrive, take the first N by place.",
)
@click.option("--redrive", "again", is_flag=True, help="Send again what can be used with the present settings.")
@click.option("--yes", is_flag=True, help="Send without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(
    reasons: tuple[str, ...], topic: str | None, limit: int | None, again: bool, yes: bool, as_json: bool
) -> None:
    """Show what could not be used, and why; with --redrive, send it again once the cause is mended.

    Each original is judged by the present settings. What can be used now goes to its own topic again, byte for byte,
    keyed by user (an item by its id), and its letter is settled; what cannot stays, with its present reason. Start the
    worker with the mended settings first. Run again after a crash: every event counts once.

    \b
    Examples:
      millstream dead-letters --reason missing_user --limit 5
      millstream dead-letters --redrive --reason missing_user --yes
    """
    if yes and not again:
        raise click.UsageError("--yes goes with --redrive")
    if again and not yes and not _can_ask():
        raise click.UsageError("--redrive asks before it sends, and nobody can answer here: add --yes to send")
    settings = load_settings()
    standing = standing_letters(settings, _lines("letters read"))
    chosen = [
        letter
        for letter in standing.letters
        if (not reasons or letter.code in reasons) and (topic is None or letter.topic == topic)
    ]
    if again:
        _redrive(chosen[:limit], settings, yes, as_json)
    else:
        _show(standing, chosen, limit or _SHOWN, settings, as_json)


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _show(standing: Standing, chosen: list[DeadLetter], limit: int, settings: Settings, as_json: bool) -> None:
    counts = _counts(letter.code for letter in chosen)
    shown = sorted(chosen, key=lambda letter: (letter.ts_ms, letter.key))[-limit:]
    if as_json:
        said = {
            "topic": settings.topics.dead_letters,
            "letters": len(chosen),
            "reasons": counts,
            "settled": standing.settled,
            "unreadable": standing.unreadable,
            "shown": [letter_json(letter) for letter in shown],
        }
        click.echo(json.dumps(said))
        return
    console = Console(highlight=False)
    if shown:
        console.print(_table([(letter, letter.code, letter.message) for letter in shown]))
        console.print()
    others = f"; {standing.unreadable:,} records are no letters" if standing.unreadable else ""
    console.print(
        f"{len(chosen):,} letters stand in {settings.topics.dead_letters} ({len(shown):,} shown), "
        f"{standing.settled:,} are settled{others}",
        soft_wrap=True,
    )
    for code, count in counts.items():
        console.print(f"  {count:>9,}  {escape(code)}")


def _redrive(letters: list[DeadLetter], settings: Settings, yes: bool, as_json: bool) -> None:
    planned = plan(letters, settings)
    where = ", ".join(f"{count:,} to {name}" for name, count in planned.by_topic.items())
    if settings.learning.dedupe_events == 0:
        click.echo("careful: learning.dedupe_events is 0, so what is sent twice counts twice", err=True)
    if planned.usable and not yes:
        click.confirm(
            f"{len(planned.usable):,} of {len(letters):,} can be used now: {where}. Send?", abort=True, err=True
        )
    if planned.usable or planned.superseded:
        uvloop.run(redrive(planned, settings, _sent_lines(len(planned.usable))))
    if as_json:
        click.echo(json.dumps(_redriven_json(letters, planned, settings)))
        return
    console = Console(highlight=False)
    if planned.still:
        newest = planned.still[-_SHOWN:]
        console.print(_table([(each.letter, each.code, each.message) for each in newest]))
        console.print()
    console.print(f"{len(planned.usable):,} sent{f': {where}' if where else ''}; their letters are settled")
    if planned.superseded:
        console.print(f"{len(planned.superseded):,} settled unsent: their items have newer entries")
    console.print(f"{len(planned.still):,} stay as they are")
    for code, count in _counts(each.code for each in planned.still).items():
        console.print(f"  {count:>9,}  {escape(code)}")


def _redriven_json(letters: list[DeadLetter], planned: Plan, settings: Settings) -> dict[str, Any]:
    return {
        "topic": settings.topics.dead_letters,
        "letters": len(letters),
        "sent": len(planned.usable),
        "to": planned.by_topic,
        "superseded": len(planned.superseded),
        "settled": len(planned.usable) + len(planned.superseded),
        "still": _counts(each.code for each in planned.still),
        "still_shown": [
            letter_json(each.letter) | {"now": {"code": each.code, "message": each.message}}
            for each in planned.still[-_SHOWN:]
        ],
    }


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """Return what `--json` says of one letter."""
    return {
        "place": letter.key,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "code": letter.code,
        "message": letter.message,
        "ts_ms": letter.ts_ms,
        "original": beginning(letter),
        "original_bytes": letter.original_bytes,
    }


def beginning(letter: DeadLetter) -> str:
    """Return the first bytes of the original, what cannot be printed escaped; `null` for none."""
    if letter.original is None:
        return "null"
    head = letter.original[:_SHOWN_BYTES]
    text = head.decode("utf-8", "backslashreplace")
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shown + ("…" if letter.original_bytes > len(head) else "")


def _table(rows: list[tuple[DeadLetter, str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("reason", no_wrap=True)
    table.add_column("place", overflow="fold")
    table.add_column("time", no_wrap=True)
    table.add_column("why", overflow="fold")
    table.add_column("original", overflow="fold")
    for letter, code, message in rows:
        place = f"{letter.topic}[{letter.partition}]@{letter.offset}"
        why = message.removeprefix(f"{place}: ").removesuffix("; kept as a dead letter")
        table.add_row(*(escape(cell) for cell in (code, place, _time(letter.ts_ms), why, beginning(letter))))
    return table


def _time(ts_ms: int) -> str:
    try:
        return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ts_ms >= 0 else ""
    except (OverflowError, ValueError, OSError):
        return str(ts_ms)


def _counts(codes: Any) -> dict[str, int]:
    return dict(Counter(codes).most_common())


def _lines(what: str) -> Callable[[int, int], None]:
    """Give what says on standard error, now and then, how far a long reading is."""
    next_line_s = time.monotonic() + _LINE_EVERY_S

    def say(done: int, end: int) -> None:
        nonlocal next_line_s
        if time.monotonic() >= next_line_s:
            next_line_s = time.monotonic() + _LINE_EVERY_S
            click.echo(f"{done:,} of {end:,} {what}", err=True)

    return say


def _sent_lines(end: int) -> Callable[[int], None]:
    say = _lines("sent")
    return lambda sent: say(sent, end)
