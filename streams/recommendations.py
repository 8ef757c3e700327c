"""The `recommendations` topic: each list that Redis judged newer, for consumers who live on Kafka.

Key `LIST:USER`, so a compacted topic keeps every user's newest list and one user's lists stay in order. A consumer that
keeps the greatest version it has seen of a key needs no more, whatever is repeated after an outage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Literal

import fastavro
import msgspec

from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.framing import SINGLE_OBJECT_MARKER
from millstream.schemas.records import Slate

from .acked_producer import AckedProducer, Record
from .slate_json import slate_json

Format = Literal["json", "avro"]

_encoder = msgspec.json.Encoder()


class RecommendationsTopic:
    """Writes slates to Kafka, at least once. One event loop; calls are carried out one after the other.

    `format` is `json` or `avro` (single-object encoding of `slate.avsc`, smaller at many times the work).
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, format: Format = "json") -> None:
        self._producer = AckedProducer(bootstrap_servers, topic, client_id="millstream-recommendations")
        self._encode: Callable[[Slate], bytes] = slate_as_json if format == "json" else slate_as_avro

    async def publish(self, slates: Sequence[Slate]) -> None:
        """Return when every slate is acknowledged by all replicas, waiting through outages.

        Raises `RefusedByBroker` for what waiting does not mend.
        """
        await self._producer.send([Record(slate_key(slate), self._encode(slate)) for slate in slates])

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection within about `within_s`; slates that no `publish` has returned for are given up."""
        await self._producer.close(within_s)


def slate_key(slate: Slate) -> bytes:
    """Return the message key, `LIST:USER`: the Redis key without its prefix."""
    return f"{slate.list}:{slate.user_id}".encode()


def slate_as_json(slate: Slate) -> bytes:
    """Return the slate as one JSON object; `items` and what is in them are arrays in the order of the records' fields.

    So an item is `[item_id, score, [[signal, contribution, evidence], …], propensity]` and the version `[generation,
    position, revision]`: half the bytes of names everywhere, a third of the time, and the same order as in Redis.
    """
    return _encoder.encode(slate)


def slate_as_avro(slate: Slate) -> bytes:
    """Return the slate in Avro single-object encoding of `slate.avsc`."""
    schema = our_schema("slate")
    body = BytesIO()
    body.write(SINGLE_OBJECT_MARKER + schema.fingerprint)
    fastavro.schemaless_writer(body, schema.parsed, slate_json(slate))
    return body.getvalue()
