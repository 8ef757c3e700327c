"""`millstream serve`: lists over HTTP."""

from __future__ import annotations

import ipaddress
import socket

import click

from millstream.agents.errors import Problem
from millstream.streams.settings import load_settings


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="Port; 0: any free one.")
def command(host: str, port: int) -> None:
    """Serve lists over HTTP until Ctrl-C; the API describes itself under /docs.

    \b
    Example:
      millstream serve --port 8080
      curl 'http://127.0.0.1:8080/v1/users/42/recommendations?k=5'
    """
    settings = load_settings()
    try:
        import uvicorn

        from millstream.streams.http import create_app
        from millstream.streams.reader import AsyncReader
    except ImportError as error:
        raise Problem(f"serving needs {error.name}, which is not installed: pip install 'millstream[serve]'") from error

    with _listening(host, port) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        if not _is_loopback(host):
            click.echo(f"{address} asks nobody who they are: keep it behind something that does", err=True)
        app = create_app(AsyncReader(settings.redis.url, settings.redis.prefix))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        click.echo(f"serving on {address}, described under {address}/docs; Ctrl-C ends it")
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            click.echo(err=True)  # uvicorn has shut down in order and passes the signal on


def _listening(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `Problem`, which uvicorn would only log."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Problem(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host or --port"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
