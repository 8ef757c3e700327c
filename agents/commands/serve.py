"""`millstream serve`: lists over HTTP."""

from __future__ import annotations

import ipaddress
import socket

import click

from millstream.agents.errors import Problem
from millstream.streams.settings import Settings, load_settings

_END_WITHIN_S = 5


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="Port; 0: any free one.")
def command(host: str, port: int) -> None:
    """Serve lists over HTTP until Ctrl-C, and take events; the API describes itself under /docs.

    Other addresses than loopback are served only with API keys in the settings (serve.read_keys, …).

    \b
    Example:
      millstream serve --port 8080
      curl 'http://127.0.0.1:8080/v1/users/42/recommendations?k=5'
    """
    settings = load_settings()
    _check_keys(settings, host)
    try:
        import uvicorn

        from millstream.agents.serving.app import Serving
    except ImportError as error:
        raise Problem(f"serving needs {error.name}, which is not installed: pip install 'millstream[serve]'") from error

    with _listening(host, port) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        serving = Serving(settings)

        class Server(uvicorn.Server):
            """uvicorn waits for open streams to end before it ends the application, so they are told first."""

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                serving.ending.set()
                await super().shutdown(sockets)

        config = uvicorn.Config(
            serving.app, log_level="warning", access_log=False, timeout_graceful_shutdown=_END_WITHIN_S
        )
        click.echo(f"serving on {address}, described under {address}/docs; Ctrl-C ends it")
        try:
            Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            click.echo(err=True)  # uvicorn has shut down in order and passes the signal on


def _check_keys(settings: Settings, host: str) -> None:
    """Raise `Problem` where anybody on the network could read, write and withdraw."""
    serve = settings.serve
    if not (serve.read_keys or serve.write_keys or serve.admin_keys) and not _is_loopback(host):
        raise Problem(
            f"--host {host} is open to the network, and no API key is set: set serve.read_keys, serve.write_keys or "
            "serve.admin_keys (MILLSTREAM_SERVE__READ_KEYS='[\"…\"]'), or serve on 127.0.0.1"
        )


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
