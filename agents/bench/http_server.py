"""The two servers of `bench read`, each a process of its own that is started the same way.

    python -m millstream.agents.bench.http_server ours REDIS_URL PREFIX cached|uncached
    python -m millstream.agents.bench.http_server bare BYTES

`bare` is a FastAPI handler of the same path and parameters that answers with ready bytes, and so many of them: the
least any FastAPI application could do. Writes its port to stdout once it listens; ends when its stdin does.
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI, Response
from starlette.types import ASGIApp

from millstream.agents.leash import end_with_starter
from millstream.streams.settings import Redis, Serve, Settings


def bare(size_bytes: int) -> FastAPI:
    """Return the floor."""
    app, body = FastAPI(), b"x" * size_bytes

    @app.get("/v1/users/{user}/recommendations")
    async def recommendations(user: str, k: int = 10, list: str = "main") -> Response:
        return Response(body, media_type="application/json")

    return app


def ours(url: str, prefix: str, *, cached: bool) -> ASGIApp:
    """Return what `millstream serve` serves, with a key asked for and without a limit on the rate."""
    from millstream.agents.serving.app import Serving

    serve = Serve(read_keys=(KEY,), rate_per_s=0, cached=cached)
    return Serving(Settings(redis=Redis(url=url, prefix=prefix), serve=serve)).app


KEY = "the-bench-has-a-key"


def main(which: str, *arguments: str) -> None:
    """Serve until stdin ends."""
    end_with_starter()
    app: ASGIApp
    if which == "bare":
        app = bare(int(arguments[0]))
    else:
        app = ours(arguments[0], arguments[1], cached=arguments[2] == "cached")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
