"""What items say, encoded by pretrained models on real titles, put onto Kafka, and recommended by a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from running import Pipeline, until

from millstream.agents.encoders import LIGHT, MINILM, NoEncoder, TextEncoder, fitted, load_encoder, normalised
from millstream.agents.encoding import Encoding
from millstream.agents.item_contents import contents, digest_of, text_of
from millstream.schemas.item_vectors import CONTENT, ItemVector, decode_vector, encode_vector
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import read_to_end
from millstream.streams.topics import ensure_topics

SPACE = ("Star Wars. Science fiction, adventure", "The Empire Strikes Back. Science fiction, adventure")
LOVE = ("Sleepless in Seattle. Romance, comedy", "When Harry Met Sally. Romance, comedy")


@pytest.fixture(scope="module", params=[MINILM, LIGHT])
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    return load_encoder(request.param)


def test_what_is_alike_lies_near(encoder: TextEncoder) -> None:
    """Of real titles, each is nearest to the other of its kind; vectors have length 1, and no text says nothing."""
    vectors = encoder.encode([*SPACE, *LOVE])
    assert vectors.shape == (4, CONTENT)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    near = vectors @ vectors.T - 2 * np.eye(4)
    assert near.argmax(axis=1).tolist() == [1, 0, 3, 2]
    assert encoder.encode([]).shape == (0, CONTENT)


def test_an_encoder_that_is_not_there_is_named() -> None:
    """With what may be named instead."""
    with pytest.raises(NoEncoder, match=r"content.encoder = '/nowhere/at/all'.*`minilm`, `light` or the folder"):
        load_encoder("/nowhere/at/all")


def test_wider_vectors_keep_their_inner_products_nearly() -> None:
    """Narrower ones keep them exactly."""
    rng = np.random.default_rng(8)
    narrow, wide = (normalised(rng.normal(size=(20, width)).astype(np.float32)) for width in (64, 1_024))
    np.testing.assert_allclose(fitted(narrow) @ fitted(narrow).T, narrow @ narrow.T, atol=1e-5)
    apart = fitted(wide) @ fitted(wide).T - wide @ wide.T
    assert np.sqrt((apart**2).mean()) < 1.5 * CONTENT**-0.5


class ByLength:
    """An encoder to count with: a text's length, and where it lies."""

    name = "by-length"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return normalised(np.eye(CONTENT, dtype=np.float32)[[len(text) % CONTENT for text in texts]])


def vector_of(made: ItemVector) -> NDArray[np.float32]:
    return np.frombuffer(made.coded, np.int8).astype(np.float32) * np.float32(made.scale)


def test_an_item_says_its_title_its_categories_its_text_and_its_attributes() -> None:
    """Equal texts are encoded once; whoever says nothing has no vector; every part is in the digest."""
    item = Item(
        item_id="1", title="Boot", text="Warm.", categories=["shoes", "winter"], price=80.5, attributes={"by": "A"}
    )
    assert text_of(item) == "Boot. shoes, winter. Warm.. by: A, price: 80.5"
    encoder = ByLength()
    one, other, silent = contents([item, Item(item_id="2", title="Boot"), Item(item_id="3")], encoder)
    assert sorted(encoder.texts, key=len) == encoder.texts == ["Boot", text_of(item)]
    assert (one.item_id, other.item_id) == ("1", "2")
    assert (silent.scale, silent.coded) == (0.0, b"")
    says = [item, Item(item_id="1", title="Boot"), Item(item_id="1", title="Boot", vectors={"image": [1.0, 2.0]})]
    digests = {digest_of(each, name) for each in says for name in ("a", "b")}
    assert len(digests) == 6


def test_the_vectors_that_an_item_brings_count_beside_its_text() -> None:
    """Of any width, by name: equal images bring different texts nearer; under another name they mean something else."""
    rng = np.random.default_rng(5)
    image, another = (rng.normal(size=2_048).tolist() for _ in range(2))
    made = contents(
        [
            Item(item_id="a", title="one", vectors={"image": image}),
            Item(item_id="b", title="another", vectors={"image": image}),
            Item(item_id="c", title="a third", vectors={"image": another}),
            Item(item_id="d", title="the fourth", vectors={"sound": image}),
            Item(item_id="e", vectors={"image": image}),
        ],
        ByLength(),
    )
    vectors = np.array([vector_of(each) for each in made])
    near = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(near), 1.0, atol=0.02)
    assert near[0, 1] == pytest.approx(0.5, abs=0.15)
    assert near[4, 1] == pytest.approx(0.5**0.5, abs=0.15)
    assert abs(near[0, 2:4]).max() < 0.2


async def test_what_changes_is_encoded_and_nothing_else(kafka: LocalKafka, topic_name: str) -> None:
    """Once each, also after a start anew; a tombstone takes the vector back; what cannot be read is passed over."""
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap},
            "inputs": [{"topic": topic_name}],
            "topics": {"items": f"{topic_name}.items", "item_vectors": f"{topic_name}.vectors", "partitions": 2},
        }
    )
    ensure_topics(settings)
    items = AckedProducer(kafka.bootstrap, settings.topics.items)

    async def say(**titles: str | None) -> None:
        records = []
        for item_id, title in titles.items():
            value = None if title is None else json.dumps({"item_id": item_id, "title": title}).encode()
            records.append(Record(item_id.encode(), value))
        await items.send(records)

    async def encoded() -> list[str]:
        encoder = ByLength()
        await Encoding(settings, encoder).run(once=True)
        return sorted(encoder.texts)

    def held() -> dict[str, ItemVector | None]:
        found = read_to_end(kafka.bootstrap, settings.topics.item_vectors)
        return {record.key.decode(): record.value and decode_vector(record.value) for record in found}

    try:
        await say(**{f"i{n}": "x" * n for n in range(1, 150)}, same="xx", last="before")
        await items.send([Record(b"odd", b"{")])
        await say(last="after")
        told = await encoded()
        assert set(told) - {"before"} == {"after", *("x" * n for n in range(1, 150))}
        assert len(told) == len(set(told))
        assert set(held()) == {*(f"i{n}" for n in range(1, 150)), "same", "last"}
        assert await encoded() == []
        await say(i1="new", i2=None)
        assert await encoded() == ["new"]
        now = held()
        assert now["i2"] is None
        assert now["i1"] is not None
        assert now["i1"].digest == digest_of(Item(item_id="i1", title="new"), "by-length")
    finally:
        await items.close()


async def test_a_new_item_is_recommended_before_its_first_click(pipeline: Pipeline) -> None:
    """Through real parts: the catalogue, the light encoder's process, Kafka, a worker; a bad vector is put aside."""
    rng = np.random.default_rng(3)
    kinds = {"space": "science fiction spaceship galaxy", "love": "romance wedding love story"}
    items = [
        {"item_id": f"{kind}{n}", "title": f"{says} {n}", "categories": [kind]}
        for kind, says in kinds.items()
        for n in range(12)
    ]
    pipeline.send([json.dumps(item).encode() for item in items], topic=f"{pipeline.topic}.items")
    clicks = [(f"u{n % 10}", f"{'space' if n % 2 else 'love'}{rng.integers(0, 11)}") for n in range(300)]
    pipeline.send([json.dumps({"user_id": user, "item_id": item}).encode() for user, item in clicks])
    with pipeline.worker() as worker:
        await worker.running()
        await pipeline.learned(len(clicks))
        command = (sys.executable, "-m", "millstream.agents.cli", "encode", "--once", "--json")
        encoding = pipeline.start("env", "MILLSTREAM_CONTENT__ENCODER=light", *command)
        encoding.process.wait(60)
        assert json.loads(encoding.out.read_text().splitlines()[-1])["encoded"] == len(items), encoding.said
        bad = encode_vector(ItemVector("space11", "m", "d", 0.1, b"short"))
        pipeline.send([bad], topic=f"{pipeline.topic}.vectors")
        more = [json.dumps({"user_id": "u1", "item_id": f"space{n}"}).encode() for n in range(4)]

        def is_listed() -> bool:
            pipeline.send(more)
            slate = pipeline.slate("u1")
            return slate is not None and "space11" in [item.item_id for item in slate.items]

        await until(is_listed)
        status = pipeline.status()
        assert status is not None
        assert (status.items, status.dead_letters) == (len(items), 1)
        slate = pipeline.slate("u1")
        assert slate is not None
        (new,) = [item for item in slate.items if item.item_id == "space11"]
        assert "content" in [reason.signal for reason in new.reasons]


def _autogroup() -> str:
    """This session's, as the kernel writes it; empty where it does not deal its time to sessions."""
    try:
        return Path("/proc/self/autogroup").read_text()
    except OSError:
        return ""


@pytest.mark.skipif(not _autogroup(), reason="this kernel does not deal its time to sessions")
def test_a_session_that_encodes_gives_way_as_a_whole() -> None:
    """Where it leads its session; in one that it shares, such as a terminal's, only the process does."""
    script = (
        "from pathlib import Path; from millstream.agents.encoding import give_way; import os; give_way(19);"
        "print(os.nice(0), Path('/proc/self/autogroup').read_text().split()[-1])"
    )
    before = _autogroup()
    for alone, expected in ((True, "19 19"), (False, f"19 {before.split()[-1]}")):
        ran = subprocess.run(
            [sys.executable, "-c", script], start_new_session=alone, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == expected
    assert _autogroup() == before
