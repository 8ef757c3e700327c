"""Settings: `millstream.toml`, overridden by `MILLSTREAM_*` variables; every wrong one is named at start.

`MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS=host:9092` sets `bootstrap_servers` in `[kafka]`: two underscores separate a
section from its key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from millstream.online_learning.config import CHOICES, MOST_SHARED_REPEATS, LearningConfig
from millstream.schemas.mapping import InputMapping

from .settings_serving import Section, Serve, Words
from .wrong_settings import (
    CONFIG_VARIABLE,
    ENV_DELIMITER,
    ENV_PREFIX,
    Sources,
    WrongSettings,
    read_file,
    unknown_variables,
    unparsable_variables,
    without_password,
    wrong_settings,
)

__all__ = [
    "DEFAULT_FILE",
    "Content",
    "Input",
    "Kafka",
    "Redis",
    "Serve",
    "Settings",
    "Snapshots",
    "Topics",
    "Words",
    "Worker",
    "WrongSettings",
    "load_settings",
]

DEFAULT_FILE = "millstream.toml"
_LISTS = (("main",), ("main", "buy"))
_MAY_BE_NONE = {
    "dedupe_events",
    "first_trained",
    "kept_off_s",
    "shared_repeats",
    "shared_choices",
    "shown_kept_off_s",
}
_MOST_WEIGHT = 15.0
"""Of a kind of event: a history keeps weights below 16."""
_MOST_DIVERSITY = 20.0


def _topic_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in {".", ".."}:
        raise ValueError("a topic's name has 1 to 249 characters of A-Z a-z 0-9 . _ -")
    return name


def _brokers(servers: str) -> str:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ValueError("must be HOST:PORT, several with commas between")
    return servers


def _redis_url(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// (TLS) or unix://")
    return url


def _snapshot_address(address: str) -> str:
    """Refuse an address that no driver is installed for."""
    protocol, is_address, _ = address.partition("://")
    if is_address:
        from fsspec import get_filesystem_class  # type: ignore[import-untyped]  # no types; of few people's concern

        try:
            get_filesystem_class(protocol)
        except ImportError as error:
            raise ValueError(f"{error} beside Millstream") from error
        except ValueError as error:
            raise ValueError(
                f"{error}; must be a folder or an address that fsspec knows, as s3://bucket/path"
            ) from error
    return address


def _lists_from_text(found: object) -> object:
    """Read what holds several as JSON where a variable gives it: what is inside a dataclass comes as text."""
    if not isinstance(found, dict):
        return found
    read = dict(found)
    for name in ("lists", "kept_off_kinds"):
        if isinstance(read.get(name), str):
            with contextlib.suppress(ValueError):
                read[name] = json.loads(read[name])
    return read


def _sizes(learning: LearningConfig) -> LearningConfig:
    """Refuse every size below 1, and weights that are not above 0 or more than a history holds."""
    wrong: dict[str, tuple[object, str]] = {}
    for name, value in asdict(learning).items():
        if name == "lists":
            if value not in _LISTS:
                wrong[name] = (value, 'must be ["main"] or ["main", "buy"]')
        elif name == "kept_off_kinds":
            if unknown := sorted(set(value) - set(CHOICES)):
                wrong[name] = (value, f"has {', '.join(unknown)}, but only {', '.join(CHOICES)} choose an item")
        elif isinstance(value, bool):
            continue
        elif isinstance(value, int) and value < (0 if name in _MAY_BE_NONE else 1):
            wrong[name] = (value, "must be at least 0" if name in _MAY_BE_NONE else "must be at least 1")
        elif name.endswith("_weight") and not 0 < value <= _MOST_WEIGHT:
            wrong[name] = (value, f"must be above 0 and at most {_MOST_WEIGHT:g}")
        elif name == "shared_repeats" and value > MOST_SHARED_REPEATS:
            wrong[name] = (value, f"must be at most {MOST_SHARED_REPEATS}; 0 lets every choice count")
        elif name == "exploration" and not 0 <= value < 1:
            wrong[name] = (value, "must be from 0 to below 1")
        elif name == "diversity" and not 0 <= value <= _MOST_DIVERSITY:
            wrong[name] = (value, f"must be from 0 to {_MOST_DIVERSITY:g}")
        elif name == "rating_slope" and not 0 <= value <= _MOST_WEIGHT:
            wrong[name] = (value, f"must be from 0 to {_MOST_WEIGHT:g}")
    for name, cap in (("max_neighbours", learning.max_neighbours), ("max_consumed", learning.max_consumed)):
        if name not in wrong and (cap < 16 or cap & (cap - 1)):
            wrong[name] = (cap, "must be a power of two from 16 on")
    if wrong:
        raise ValidationError.from_exception_data(
            "learning",
            [
                InitErrorDetails(type=PydanticCustomError("size", "{why}", {"why": why}), loc=(name,), input=value)
                for name, (value, why) in wrong.items()
            ],
        )
    return learning


def _at_least_one(inputs: tuple[Input, ...]) -> tuple[Input, ...]:
    if not inputs:
        raise ValueError("name at least one topic to read")
    return inputs


TopicName = Annotated[str, AfterValidator(_topic_name)]


class Kafka(Section):
    """Where the brokers are and who we are to them."""

    bootstrap_servers: Annotated[str, AfterValidator(_brokers)] = "127.0.0.1:9092"
    group_id: str = Field(default="millstream", min_length=1)
    group_instance_id: str = ""
    """A worker's own name in the group, the same after a restart; empty: one is kept beside the snapshots."""
    session_timeout_ms: int = Field(default=6_000, ge=1_000)
    """How long a worker may be silent until others take its roles over; within what the brokers allow."""


class Redis(Section):
    """Where lists are published."""

    url: Annotated[str, AfterValidator(_redis_url)] = "redis://127.0.0.1:6379/0"
    prefix: str = ""
    """Put before every key, so that several pipelines can share one Redis."""
    list_ttl_s: int = Field(default=30 * 86_400, ge=1)
    """How long an untouched list stays; must outlive the span a replay covers."""
    feed_length: int = Field(default=100_000, ge=1)
    """About how many pointers the feed keeps."""

    @property
    def shown_url(self) -> str:
        """The URL as messages show it, without its password."""
        return without_password(self.url)


class Input(Section):
    """One topic of events, and how its fields map onto ours."""

    topic: TopicName
    default_kind: str = "click"
    """The kind of an event that names none."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our field name to theirs, where the common names do not already match, e.g. {user_id = "customer"}."""
    kinds: dict[str, str] = Field(default_factory=dict)
    """Their kind to ours, beyond the common ones."""

    @model_validator(mode="after")
    def _names_what_exists(self) -> Input:
        InputMapping(self.default_kind, self.fields, self.kinds)  # raises, naming the field or kind that does not exist
        return self


class Topics(Section):
    """Names and shapes of the topics we own."""

    items: TopicName = "items"
    item_vectors: TopicName = "item-vectors"
    recommendations: TopicName = "recommendations"
    dead_letters: TopicName = "interactions.dlq"
    model_log: TopicName = "model-log"
    control: TopicName = "control"
    partitions: int = Field(default=4, ge=1)
    """Partitions of topics we create (`model-log` and `control` always have one)."""
    replication_factor: int = Field(default=1, ge=1)
    retention_ms: int = Field(default=-1, ge=-1)
    """Retention of inputs we create; -1 keeps everything, so that any rebuild sees all of it."""

    def prefixed(self, prefix: str) -> Topics:
        """Return the same with `prefix` before every name."""
        names = {name: value for name in Topics.model_fields if isinstance(value := getattr(self, name), str)}
        return self.model_copy(update={name: f"{prefix}{topic}" for name, topic in names.items()})


class Snapshots(Section):
    """Where state is kept, and where to begin without it."""

    directory: Annotated[str, AfterValidator(_snapshot_address)] = "snapshots"
    """A folder, or an address that fsspec knows, as `s3://bucket/path`."""
    every_s: float = Field(default=5.0, gt=0)
    keep: int = Field(default=2, ge=1)
    """Whole ones; each with the changes that came after it."""
    start: Literal["earliest", "latest"] | Annotated[int, Field(ge=0)] = "earliest"
    """Where a worker without a snapshot begins: `earliest`, `latest`, or a time in ms since the epoch."""


class Worker(Section):
    """How the running loop behaves."""

    slice_ms: float = Field(default=10.0, gt=0)
    """Longest the step holds its thread before what it made goes out; four times that while a second's work waits."""
    max_chunk_events: int = Field(default=4_000, ge=1)
    max_in_flight_events: int = Field(default=16_000, ge=1)
    """Events read but not yet published; beyond it the source stops reading (back-pressure)."""
    effort: Literal["adaptive", "full"] = "adaptive"
    """`adaptive`: when the stream outruns the machine, fewer events train the blend, never below 5 %; all count."""
    publish_recommendations: bool = True
    """Whether refreshed lists also go to the `recommendations` topic."""
    status_every_s: float = Field(default=0.25, gt=0)


class Content(Section):
    """How `millstream encode` makes vectors of what items say."""

    encoder: str = Field(default="minilm", min_length=1)
    """`minilm`, `light`, or the folder of a model that sentence-transformers can load."""
    threads: int = Field(default=1, ge=1)
    nice: int = Field(default=19, ge=0, le=19)
    """How far it gives way to other processes of the machine."""


class Settings(BaseSettings):
    """All settings of a pipeline, checked as a whole when it starts."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER, extra="forbid", frozen=True, validate_default=True
    )

    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    inputs: Annotated[tuple[Input, ...], AfterValidator(_at_least_one)] = (Input(topic="interactions"),)
    topics: Topics = Topics()
    learning: Annotated[LearningConfig, BeforeValidator(_lists_from_text), AfterValidator(_sizes)] = LearningConfig()
    snapshots: Snapshots = Snapshots()
    worker: Worker = Worker()
    content: Content = Content()
    serve: Serve = Serve()
    words: Words = Words()

    @model_validator(mode="after")
    def _topics_do_not_meet(self) -> Settings:
        ours = {
            f"topics.{name}": topic
            for name in Topics.model_fields
            if isinstance(topic := getattr(self.topics, name), str)
        }
        seen: dict[str, str] = {}
        for name, topic in ours.items():
            if topic in seen:
                raise ValueError(f"{seen[topic]} and {name} are both {topic!r}: each needs a topic of its own")
            seen[topic] = name
        mappings: dict[str, Input] = {}
        for entry in self.inputs:
            if entry.topic in seen:
                raise ValueError(
                    f"an input and {seen[entry.topic]} are both {entry.topic!r}: each needs a topic of its own"
                )
            if mappings.setdefault(entry.topic, entry) != entry:
                raise ValueError(f"two inputs read {entry.topic!r} with different mappings: a topic has one")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit arguments win over the environment, which wins over the file."""
        path, named = _file()
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_file(path, named=named))


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of `overrides`, the environment and the file, the first of them winning.

    Raises `WrongSettings` with a line for each that is wrong, unknown or misspelt, by the name it was written under.
    """
    path, named = _file()
    sources = Sources(overrides, os.environ, read_file(path, named=named), path)
    lines = unparsable_variables(os.environ, Settings)
    if not lines:
        try:
            settings = Settings(**overrides)
        except ValidationError as error:
            lines = wrong_settings(error, sources, Settings)
    lines = [*unknown_variables(os.environ, Settings).values(), *lines]
    if lines:
        raise WrongSettings(lines)
    return settings


def _file() -> tuple[Path, bool]:
    """Return the settings file, and whether it was asked for by name."""
    named = os.environ.get(CONFIG_VARIABLE)
    return (Path(named), True) if named else (Path(DEFAULT_FILE), False)
