"""Hearing from Redis which keys changed: client tracking in broadcast mode, on a connection of its own.

Redis (6.0 and newer, and Valkey) pushes the name of every changed key under our prefixes over RESP3. A PING every
`_PING_EVERY_S` shows how far we have heard: what Redis changed before it answered one has arrived before the answer. So
the cache's knowledge is complete up to the moment the last answered PING was *sent*, however slow the way back is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import hiredis
import redis
from redis.exceptions import RedisError

from .list_cache import ListCache
from .outage import Outage

_PING_EVERY_S = 0.01
_CONNECT_WITHIN_S = 0.5
_DEAD_AFTER_S = 1.0
"""Without an answer for so long the connection counts as lost."""
_RETRY_S = 0.1
_RECEIVE_BYTES = 65_536
_PING = b"*1\r\n$4\r\nPING\r\n"


class Invalidations:
    """A thread that keeps a `ListCache` true while it runs; lost connections are made anew, the cache empty meanwhile.

    A daemon: it never keeps a process alive. `stop` ends it within a fraction of a second.
    """

    def __init__(self, url: str, cache: ListCache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._client = redis.Redis.from_url(
            url, protocol=3, socket_timeout=_CONNECT_WITHIN_S, socket_connect_timeout=_CONNECT_WITHIN_S
        )
        self._outage = Outage("redis (invalidations)")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="millstream-invalidations", daemon=True)

    def start(self) -> None:
        """Begin; the cache answers once the first PING is answered."""
        self._thread.start()

    def stop(self) -> None:
        """End it; the cache then answers nothing."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_DEAD_AFTER_S)
        self._cache.lost()
        self._client.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (RedisError, OSError, hiredis.HiredisError) as error:
                self._outage.lost(error)
            finally:
                self._cache.lost()
            self._stopped.wait(_RETRY_S)

    def _listen(self) -> None:
        """Listen until the connection is lost, which raises, or until stopped."""
        connection: Any = self._client.connection_pool.make_connection()
        try:
            connection.connect()  # with TLS, user and password, as the URL says
            prefixes = [part for prefix in self._cache.prefixes for part in ("PREFIX", prefix)]
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            connection.read_response()  # raises where Redis is too old or we may not
            self._hear(connection._sock)  # redis-py has no public way to read pushes as they come
        finally:
            connection.disconnect()

    def _hear(self, sock: Any) -> None:
        reader: Any = hiredis.Reader()
        sent_s = float("-inf")
        waiting = False  # for the answer to a PING
        while not self._stopped.is_set():
            now_s = self._clock()
            if waiting and now_s - sent_s > _DEAD_AFTER_S:
                raise TimeoutError(f"no answer to a PING for {_DEAD_AFTER_S:g} s")
            if not waiting and now_s - sent_s >= _PING_EVERY_S:
                sent_s, waiting = now_s, True
                sock.settimeout(_DEAD_AFTER_S)
                sock.sendall(_PING)
            sock.settimeout(max(_PING_EVERY_S / 10, _PING_EVERY_S - (now_s - sent_s)) if not waiting else _PING_EVERY_S)
            try:
                received = sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue
            if not received:
                raise ConnectionResetError("Redis closed the connection")
            reader.feed(received)
            answered = False
            while (message := reader.gets()) is not False:
                answered |= not self._apply(message)
            if answered:
                # after everything that came with it: in one round Redis writes the answer before the changes
                waiting = False
                self._cache.complete_until(sent_s)
                self._outage.back()

    def _apply(self, message: Any) -> bool:
        """Heed a push; return whether the message was one."""
        if not isinstance(message, hiredis.PushNotification):
            return False
        if message[0] == b"invalidate":
            if message[1] is None:
                self._cache.forget_all()
            else:
                self._cache.changed(message[1])
        return True
