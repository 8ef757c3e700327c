"""Settings of the serving side: what `millstream serve` lets in, and who puts reasons into words."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from millstream.schemas.records import Kind


def _api_key(key: str) -> str:
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("an API key has at least 16 printable ASCII characters and no blank")
    return key


def _kind_name(name: str) -> str:
    if name not in Kind.__members__:
        raise ValueError(f"no kind is called {name!r}; ours: {', '.join(Kind.__members__)}")
    return name


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
        raise ValueError("must be http:// or https:// and a host, as https://HOST/v1")
    return url.rstrip("/")


KindName = Annotated[str, AfterValidator(_kind_name)]
ApiKey = Annotated[str, AfterValidator(_api_key)]


class Section(BaseModel):
    """Keys that belong together; one that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Serve(Section):
    """How lists are served over HTTP."""

    read_keys: tuple[ApiKey, ...] = ()
    """API keys of those who may read lists."""
    write_keys: tuple[ApiKey, ...] = ()
    """Of those who may also send events."""
    admin_keys: tuple[ApiKey, ...] = ()
    """Of those who may also change and withdraw items. Without any key of the three, only loopback is served."""
    rate_per_s: float = Field(default=1_000.0, ge=0)
    """Requests a second of one key (without keys: of one address); 0: any number."""
    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    max_events: int = Field(default=1_000, ge=1)
    """Events in one request."""
    cors_origins: tuple[str, ...] = ()
    """Web pages that may ask from a browser, as `https://shop.example`; `*`: any."""
    static_items: tuple[str, ...] = ()
    """What to show when there is no list at all, or Redis is away."""
    cached: bool = False
    """Whether lists stay in the serving process for as long as Redis says that they have not changed."""
    hide_kinds: tuple[KindName, ...] = (Kind.hide.name,)
    """Kinds of event that keep their item off the user's lists, as soon as they are accepted; `purchase` is another."""
    write_timeout_s: float = Field(default=5.0, gt=0)
    """How long an event may take to be acknowledged by Kafka before its sender is told to try again."""
    wait_s: float = Field(default=2.0, gt=0)
    """How long `wait=applied` waits for the refreshed lists."""


class Words(Section):
    """Who puts reasons into words for people: templates alone, or also an endpoint that speaks OpenAI's chat API."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] = ""
    """What stands before `/chat/completions`, as `https://api.example/v1`; empty: templates alone."""
    model: str = Field(default="", validate_default=True)
    api_key: SecretStr = SecretStr("")
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    requests_per_minute: int = Field(default=20, ge=1)
    """Of all serving processes together."""
    max_tokens: int = Field(default=80, ge=16, le=4_096)
    """Of one reply."""
    daily_tokens: int = Field(default=200_000, ge=0)
    """In and out, of all serving processes together, by UTC's day."""
    keep_s: int = Field(default=30 * 86_400, ge=60)
    """How long a phrasing is kept, and that one was refused."""

    @field_validator("model")
    @classmethod
    def _is_named(cls, model: str, others: ValidationInfo) -> str:
        if others.data.get("endpoint") and not model:
            raise ValueError("an endpoint needs the name of a model")
        return model
