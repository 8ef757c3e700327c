"""The `recommendations` topic: each list that Redis judged newer, for consumers who live on Kafka.

Key `LIST:USER`, so a compacted topic keeps every user's newest list and one user's lists stay in order. A consumer that
keeps the greatest version it has seen of a key needs no more, whatever is repeated after an outage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Literal

import fastavro

from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.framing import SINGLE_OBJECT_MARKER
from millstream.schemas.slates import EncodedSlate, read_slate

from .acked_producer import AckedProducer, Record
from .slate_json import slate_json

Format = Literal["json", "avro"]


class RecommendationsTopic:
    """Writes slates to Kafka, at least once. One event loop; calls are carried out one after the other.

    `format` is `json`, the very text that Redis has, or `avro` (single-object encoding of `slate.avsc`, smaller at many
    times the work).
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, format: Format = "json") -> None:
        self._producer = AckedProducer(bootstrap_servers, topic, client_id="millstream-recommendations")
        self._text: Callable[[EncodedSlate], bytes] = _as_it_is if format == "json" else slate_as_avro

    async def publish(self, slates: Sequence[EncodedSlate]) -> None:
        """Return when every slate is acknowledged by all replicas, waiting through outages.

        Raises `RefusedByBroker` for what waiting does not mend.
        """
        await self._producer.send([Record(slate_key(slate), self._text(slate)) for slate in slates])

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection within about `within_s`; slates that no `publish` has returned for are given up."""
        await self._producer.close(within_s)


def slate_key(slate: EncodedSlate) -> bytes:
    """Return the message key, `LIST:USER`: the Redis key without its prefix."""
    return f"{slate.list}:{slate.user_id}".encode()


def slate_as_avro(slate: EncodedSlate) -> bytes:
    """Return the slate in Avro single-object encoding of `slate.avsc`."""
    schema = our_schema("slate")
    body = BytesIO()
    body.write(SINGLE_OBJECT_MARKER + schema.fingerprint)
    fastavro.schemaless_writer(body, schema.parsed, slate_json(read_slate(slate)))
    return body.getvalue()


def _as_it_is(slate: EncodedSlate) -> bytes:
    return slate.json
