"""What a user was shown in the past is what was published then, whichever snapshot it is made from."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from click.testing import CliRunner
from running import Pipeline, clicks, until

from millstream.agents.cli import main
from millstream.online_learning.snapshot import list_snapshots
from millstream.streams.slate_json import slate_json


def _ask(pipeline: Pipeline, *arguments: str) -> Any:
    return CliRunner(env=pipeline.environment).invoke(main, ["recommend", *arguments])


async def test_it_is_what_was_published(pipeline: Pipeline) -> None:
    """From snapshots of that time, and, without any, from the beginning of the log; and also by its version alone."""
    shown = []
    events = clicks(900, users=40)
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send([b'{"item_id":"i1","categories":["c"]}'], topic=f"{pipeline.topic}.items")
        for first in range(0, 900, 300):
            pipeline.send(events[first : first + 300])
            await pipeline.learned(first + 300)
            await until(lambda: len(list_snapshots(pipeline.directory / "snapshots")) > len(shown))
            last = [json.loads(event)["user_id"] for event in events[: first + 300]]
            slate = pipeline.slate(last[-1])
            assert slate is not None
            shown.append(slate)
        worker.interrupt()
    for slate in shown:
        at, version = str(slate.version.position), slate.slate_id.partition("@")[2]
        for asked in (at, version):
            answer = await asyncio.to_thread(_ask, pipeline, slate.user_id, "--at", asked, "-k", "100", "--json")
            assert answer.exit_code == 0, answer.output
            found = json.loads(answer.stdout.splitlines()[-1])
            then = {**slate_json(slate), "generated_ts_ms": found["generated_ts_ms"]}
            assert {key: found[key] for key in then} == then
            assert found["since"] == "" or found["since"].endswith(".snapshot")
    assert found["events"] <= 900
    answer = await asyncio.to_thread(_ask, pipeline, shown[0].user_id, "--at", "300")
    assert shown[0].slate_id in answer.output
    for path in (pipeline.directory / "snapshots").glob("*.snapshot"):
        path.unlink()
    answer = await asyncio.to_thread(_ask, pipeline, shown[0].user_id, "--at", "300", "--json", "-k", "100")
    again = json.loads(answer.stdout.splitlines()[-1])
    assert (again["since"], again["events"]) == ("", 300)
    assert again["items"] == slate_json(shown[0])["items"]


async def test_what_was_not_shown_is_said(pipeline: Pipeline) -> None:
    """A user who had not come yet, a version that never was, one that is still to come."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(clicks(30, users=3))
        await pipeline.learned(30)
        worker.interrupt()
    for arguments, said in (
        (("nobody", "--at", "30"), "user 'nobody' had no list 'main' at 30: none of their events came before it"),
        (("u1", "--at", "1.999.5"), "user 'u1' had no list 1.999.5: after that theirs is 1.5.5"),
        (("u1", "--at", "1.99.99"), "user 'u1' had no list 1.99.99: the order ends at revision 30"),
        (("u1", "--at", "1.5"), "'1.5' is neither a position nor a version as 1.1842.5530"),
    ):
        answer = await asyncio.to_thread(_ask, pipeline, *arguments)
        assert answer.exit_code in {1, 2}
        assert said in " ".join(answer.output.split())
