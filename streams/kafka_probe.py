"""Does a Kafka broker answer here? Asked with one hand-made metadata request over a plain socket.

A client library would do, but its failed bootstraps leave threads behind and take their own time; this is asked many
times a second while a broker starts, and must say no within the time it was given.
"""

from __future__ import annotations

import socket
import struct
import time

_METADATA, _VERSION, _CORRELATION = 3, 1, 7
_CLIENT = b"millstream-probe"
# Version 1 is the first whose empty topic array asks for no topics; every broker from 0.10 to 4.x answers it.
_BODY = struct.pack(f">hhih{len(_CLIENT)}si", _METADATA, _VERSION, _CORRELATION, len(_CLIENT), _CLIENT, 0)
_REQUEST = struct.pack(">i", len(_BODY)) + _BODY


def answering_broker(bootstrap_servers: str, *, within_s: float) -> str | None:
    """Return the first of the comma-separated `host:port`s that answers a metadata request naming a live broker.

    None when none does within `within_s` seconds in all.
    """
    deadline = time.monotonic() + within_s
    for address in bootstrap_servers.split(","):
        left_s = deadline - time.monotonic()
        if left_s > 0 and _answers(address.strip(), left_s):
            return address.strip()
    return None


def _answers(address: str, within_s: float) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return False
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=within_s) as connection:
            connection.sendall(_REQUEST)
            (size,) = struct.unpack(">i", _read(connection, 4))
            if not 8 <= size <= 1_000_000:
                return False
            correlation, brokers = struct.unpack(">ii", _read(connection, size)[:8])
    except (OSError, OverflowError, EOFError):
        return False
    # a starting broker already listens, but names no live broker until it has registered with the controller
    return bool(correlation == _CORRELATION and brokers > 0)


def _read(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts
