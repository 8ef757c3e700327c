"""Order records: what load and interleaving decided, as `model-log` has it, one JSON object a record.

{"type":"claim","epoch":4,"writer":"5f0c…","positions":[["interactions",0,812]],"topic_ids":{"interactions":"…"}}
{"type":"order","epoch":4,"writer":"5f0c…","runs":[["interactions",0,812,840,1]]}
{"type":"hold","switch":"9c41…"}
{"type":"swap","switch":"9c41…","snapshot":"state-0000000000031207-000003.snapshot","state_hash":"…"}
{"type":"go","switch":"9c41…"}
"""

from __future__ import annotations

import msgspec


class Run(msgspec.Struct, frozen=True, array_like=True):
    """The offsets [start, end) of a partition come next, with one event in `train_every` trained."""

    input: str
    partition: int
    start: int
    end: int
    train_every: int


class Order(msgspec.Struct, frozen=True, tag="order"):
    """The runs that come next, in this order. Void unless the writer's claim is the last one before it."""

    epoch: int
    writer: str
    runs: tuple[Run, ...]


class Claim(msgspec.Struct, frozen=True, tag="claim"):
    """From here on `writer` decides the order, until the next claim. Void unless its epoch is the next one."""

    epoch: int
    writer: str
    positions: tuple[tuple[str, int, int], ...] = ()
    """Topic, partition and next offset of each place that the writer reads; decides where new places begin."""
    topic_ids: dict[str, str] = {}
    """The broker's UUID of each topic that the positions are in."""


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Nothing that is ordered after this is applied before a `Swap` or a `Go` of the same switch stands in the log.

    Whoever offers another model writes it, whoever leads. Void while another switch is open.
    """

    switch: str


class Swap(msgspec.Struct, frozen=True, tag="swap"):
    """Go on with the state of a snapshot, which is one of what stands before the hold. Void without the hold."""

    switch: str
    snapshot: str
    """Its file, in the folder of the model that is offered."""
    state_hash: str


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Go on as before. Void without the hold."""

    switch: str


OrderRecord = Claim | Order | Hold | Swap | Go

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(OrderRecord)


def encode_order(record: OrderRecord) -> bytes:
    """Return the record as JSON."""
    return _encoder.encode(record)


def decode_order(value: bytes) -> OrderRecord:
    """Return what was written. Raises `msgspec.MsgspecError` for what is no order record."""
    record: OrderRecord = _decoder.decode(value)
    return record
