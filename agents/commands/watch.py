"""`millstream watch`: refreshed lists as they are published, a line each."""

from __future__ import annotations

from datetime import datetime

import click
import orjson
from redis.exceptions import RedisError

from millstream.agents.errors import Problem
from millstream.schemas.records import Slate
from millstream.streams.reader import Reader
from millstream.streams.settings import load_settings
from millstream.streams.slate_json import slate_json

_ITEMS_SHOWN = 5


@click.command("watch")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many lists; without it, at Ctrl-C.")
@click.option("--list", "list_name", help="Only this list; without it, every one.")
@click.option(
    "--from", "from_id", default="$", show_default=True, help="Feed id to begin after; 0: all it still holds."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def command(limit: int | None, list_name: str | None, from_id: str, as_json: bool) -> None:
    """Follow lists as they are refreshed, until Ctrl-C.

    Several refreshes of one list within a moment are shown as one, the newest.

    \b
    Example:
      millstream watch --limit 10
    """
    settings = load_settings()
    reader = Reader(settings.redis.url, settings.redis.prefix)
    try:
        for shown, slate in enumerate(reader.follow(from_id, list=list_name), start=1):
            click.echo(orjson.dumps(slate_json(slate)) if as_json else line(slate))
            if shown == limit:
                break
    except KeyboardInterrupt:
        click.echo(err=True)  # the terminal shows ^C without ending the line
    except RedisError as error:
        raise Problem(
            f"cannot follow the feed in Redis at {settings.redis.shown_url}: {error}; start it (`millstream up`), set "
            "MILLSTREAM_REDIS__URL, or see whether --from is a feed id"
        ) from error
    finally:
        reader.close()


def line(slate: Slate) -> str:
    """Return one slate as one line: when it was made, whose it is, how new, and its first items."""
    made_at = datetime.fromtimestamp(slate.generated_ts_ms / 1000).strftime("%H:%M:%S.%f")[:-3]
    items = " ".join(item.item_id for item in slate.items[:_ITEMS_SHOWN])
    more = f" … {len(slate.items) - _ITEMS_SHOWN} more" if len(slate.items) > _ITEMS_SHOWN else ""
    whose = slate.user_id or "(popular)"
    return f"{made_at}  {slate.list}:{whose}  position {slate.version.position}  {items}{more}"
