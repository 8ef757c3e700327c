"""What Prometheus sees of a serving process. One registry an application, so that tests and workers do not meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from millstream.schemas.phrasing import Flaw
from millstream.streams.answer import Answer, Fallback

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_NAMESPACE = "millstream"
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one application. One event loop owns it."""

    def __init__(self) -> None:
        self._collected = CollectorRegistry()
        self._ours: dict[str, Any] = {"registry": self._collected, "namespace": _NAMESPACE}
        self._requests = self._counter("http_requests", "Requests answered.", ("route", "method", "status"))
        self._seconds = Histogram(
            "http_seconds",
            "Time to the last byte.",
            ("route",),
            buckets=_SECONDS,
            **self._ours,
        )
        self._answers = self._counter("answers", "Lists answered, by what stood in.", ("fallback",))
        self._withheld = self._counter("withheld_items", "Items kept off answers by rules and withdrawals.")
        self._events = self._counter("http_events", "Events sent to us, by verdict.", ("verdict",))
        self._words = self._counter("words", "Sentences for people, by who put them so.", ("source",))
        self._words_asked = self._counter("words_asked", "Reasons for an endpoint, by what came of them.", ("outcome",))
        self._words_tokens = self._counter("words_tokens", "Tokens that the endpoint took, in and out.")
        self._streams = Gauge("stream_readers", "Open event streams.", **self._ours)
        self._counted: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}
        self._answered = {name: self._answers.labels(name or "none") for name in _FALLBACKS}

    def _counter(self, name: str, what: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, what, labels, **self._ours)

    def gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Add a figure that is asked for when Prometheus comes."""
        Gauge(name, what, **self._ours).set_function(read)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = (route, method, status)
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = self._requests.labels(route, method, str(status))
        counted.inc()
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._seconds.labels(route)
        timed.observe(seconds)

    def answer(self, answer: Answer) -> None:
        """Count a list that was answered."""
        self._answered[answer.fallback].inc()
        if answer.withheld:
            self._withheld.inc(answer.withheld)

    def events(self, verdict: str, n: int) -> None:
        """Count events by what became of them."""
        if n:
            self._events.labels(verdict).inc(n)

    def worded(self, source: Literal["template", "endpoint"]) -> None:
        """Count a sentence that was answered."""
        self._words.labels(source).inc()

    def asked(self, outcome: Flaw | Literal["kept", "failed", "dropped", "limited"]) -> None:
        """Count a reason for the endpoint: kept, dropped, held back, not answered, or refused by its flaw."""
        self._words_asked.labels(outcome).inc()

    def tokens(self, n: int) -> None:
        """Count what the endpoint took."""
        self._words_tokens.inc(n)

    def stream(self, by: int) -> None:
        """Count a stream that opens (1) or closes (-1)."""
        self._streams.inc(by)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._collected)


_FALLBACKS: tuple[Fallback | None, ...] = (None, "category", "content", "popular", "static", "empty", "unavailable")
