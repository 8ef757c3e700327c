"""`millstream chaos`: faults against a real pipeline, and what was lost, doubled, or went backwards."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.status import Status
from rich.table import Table

from millstream.agents.chaos.broken import GUARDS
from millstream.agents.chaos.ledger import append, read, total
from millstream.agents.chaos.run import Outcome, Servers, run_once
from millstream.agents.chaos.schedule import FAULTS, Fault, schedule
from millstream.agents.errors import Problem
from millstream.agents.interrupt import INTERRUPTED, cancel_once_on_signals, ignore_signals
from millstream.online_learning.torch_process import TRAINING
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis

_RATE = 2_500.0
"""Records a second: two workers at full effort keep up, and a run ends within a minute."""


@click.command("chaos")
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds in a row.")
@click.option("--seed", type=click.IntRange(min=0), help="The first seed; else the one after the ledger's last, or 0.")
@click.option("--events", type=click.IntRange(min=100), default=50_000, show_default=True, help="Events of a run.")
@click.option("--workers", type=click.IntRange(1, 4), default=2, show_default=True, help="Workers at the start.")
@click.option("--rate", type=click.FloatRange(min=1), default=_RATE, show_default=True, help="Records sent a second.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(FAULTS), help="These, instead of the seed's.")
@click.option("--break", "broken", type=click.Choice(GUARDS), help="Turn one guard off: something must be found.")
@click.option("--ledger", type=click.Path(dir_okay=False, path_type=Path), help="Add each run to this file.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the runs' folders here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(
    runs: int,
    seed: int | None,
    events: int,
    workers: int,
    rate: float,
    faults: tuple[Fault, ...],
    broken: str | None,
    ledger: Path | None,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Do to a pipeline of this machine what happens to pipelines, and count what it lost.

    Starts a Kafka and a Valkey of its own, some workers, and sends events, some of them twice and some late; meanwhile
    workers are killed, stopped and started, servers restarted, disks full, as the seed says. At the end the inputs are
    read by themselves: whether each event counts once, whether the workers' states are the one that a fresh process
    makes of the recorded order, and whether every user's list is the newest and none ever went backwards. The exit
    status is 1 if anything was found; the same --seed repeats the schedule.

    \b
    Examples:
      millstream chaos --runs 12
      millstream chaos --seed 7 --events 5000
      millstream chaos --fault stop_leader --break fence
      millstream chaos --runs 60 --ledger chaos.jsonl --json
    """
    first = seed if seed is not None else max((run.seed + 1 for run in read(ledger)), default=0) if ledger else 0
    asked = Asked(range(first, first + runs), events, workers, rate, faults, broken or "", ledger, keep)
    # a broker that is away says so many times a second; the sender says it once, with the address
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    outcomes: list[Outcome] = []
    interrupted = False
    TRAINING.begin()  # what judges the first run trains, too
    try:
        uvloop.run(_sit(asked, console, outcomes))
    except asyncio.CancelledError:
        interrupted = True
    found = total(outcomes)
    if as_json:
        click.echo(json.dumps(found))
    else:
        Console().print(_table(outcomes))
    if interrupted:
        raise SystemExit(INTERRUPTED)
    bad = [run for run in outcomes if run.bad]
    if bad:
        stuck = f": {bad[0].stuck}" if bad[0].stuck else ""
        raise Problem(
            f"{len(bad)} of {len(outcomes)} runs found something{stuck}; the first again: {asked.again(bad[0].seed)}"
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say."""

    seeds: range
    events: int
    workers: int
    rate: float
    faults: tuple[Fault, ...]
    broken: str
    ledger: Path | None
    keep: Path | None

    def again(self, seed: int) -> str:
        """Return the command that repeats a run."""
        options = [f"--seed {seed} --events {self.events} --workers {self.workers} --rate {self.rate:g}"]
        options += [f"--fault {fault}" for fault in self.faults]
        options += [f"--break {self.broken}"] if self.broken else []
        return f"millstream chaos {' '.join(options)}"


async def _sit(asked: Asked, console: Console, outcomes: list[Outcome]) -> None:
    """Run the seeds one after another on servers that they share."""
    cancel_once_on_signals()
    with ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millstream-chaos-")))
        stack.callback(ignore_signals)
        redis_folder = folder / "redis"
        redis_folder.mkdir(parents=True, exist_ok=True)
        console.print("starting Kafka and Valkey")
        kafka = stack.enter_context(LocalKafka())
        servers = Servers(kafka, stack.enter_context(LocalRedis(redis_folder, append_only=True)), redis_folder)
        for number, seed in enumerate(asked.seeds, 1):
            where = f"run {number} of {len(asked.seeds)}, seed {seed}"
            own = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=folder))
            with console.status(where) as status:
                outcome = await run_once(
                    seed,
                    servers,
                    own,
                    events=asked.events,
                    rate=asked.rate,
                    workers=asked.workers,
                    only=asked.faults,
                    broken=asked.broken,
                    say=partial(_say, status, where),
                )
            outcomes.append(outcome)
            if asked.ledger is not None:
                append(asked.ledger, outcome)
            kinds = ", ".join(planned.fault for planned in schedule(seed, asked.events, asked.faults))
            wrong = "nothing wrong" if not outcome.bad else outcome.stuck or f"{outcome.bad:,} found"
            console.print(f"{where}: {kinds}: {wrong}, {outcome.took_s:.0f} s", soft_wrap=True)
            for example in outcome.examples:
                console.print(f"  {example}", soft_wrap=True)


def _say(status: Status, where: str, what: str) -> None:
    status.update(f"{where}: {what}")


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("", *(str(run.seed) for run in outcomes[-8:]), "all")
    found = total(outcomes)
    rows = ("lost", "doubled", "hash_mismatches", "went_backwards", "stale_lists", "void", "claims")
    for name in rows:
        table.add_row(name.replace("_", " "), *(f"{getattr(run, name):,}" for run in outcomes[-8:]), f"{found[name]:,}")
    table.add_row("s", *(f"{run.took_s:.0f}" for run in outcomes[-8:]), "")
    return table
