"""What goes wrong at the edges, said so that a person can act on it.

    Unavailable                 a system at the other end does not answer, or cannot be started
    ├── LocalKafkaUnavailable   no Java, no Maven, no jars, or the broker died while starting
    ├── LocalRedisUnavailable   no server program, or the server died while starting
    ├── BrokerUnreachable       no broker answers at the address in the settings
    └── NoAnswer                nobody answers a question: no worker, or nobody who understands texts

Each message has the address or program, what happened, and the remedy. The command line prints it and exits 1.
"""

from __future__ import annotations

from typing import Self


class Unavailable(RuntimeError):
    """A system at the other end does not answer or cannot be started; the message names it and the remedy."""


class LocalKafkaUnavailable(Unavailable):
    """No Kafka could be started on this machine."""


class LocalRedisUnavailable(Unavailable):
    """No Redis-compatible server could be started on this machine."""


class NoAnswer(Unavailable):
    """Nobody has answered a question; the message says what may be wrong."""


class BrokerUnreachable(Unavailable):
    """No Kafka broker answers at the address given."""

    @classmethod
    def at(cls, bootstrap_servers: str) -> Self:
        """Return the error with the address and the remedy."""
        return cls(
            f"no Kafka broker answers at {bootstrap_servers}; start one with `millstream up`, "
            "or name a running one in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"
        )
