"""The HTTP API against its own description: what it allows and what it forbids, by the hundred, gives no surprise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from running import Pipeline, until
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import ADMIN, publish, slate

from millstream.agents.serving.models import ListOut

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KEY = {"Authorization": f"Bearer {ADMIN}"}
EXAMPLES = 25
WITHOUT_PARAMETERS = {"/healthz", "/readyz", "/metrics"}
LONGEST_URL = 10_000  # far longer ones are refused by the HTTP server before there is a request
STREAM = "/v1/stream"  # an answer that does not end: tests/test_serving_stream.py


pytest.importorskip("faiss", reason="the extra `search` is not installed: searches would be answered with 503")


@pytest.fixture
async def address(pipeline: Pipeline) -> Iterator[str]:  # type: ignore[misc]  # an async generator to pytest-asyncio
    """Where a `millstream serve` process answers: a worker, who understands texts, Kafka and Redis are behind it."""
    await publish(pipeline.redis_url, pipeline.prefix, slate("u"), slate(""))
    environment = pipeline.environment | {
        "MILLSTREAM_SERVE__ADMIN_KEYS": f'["{ADMIN}"]',
        "MILLSTREAM_SERVE__RATE_PER_S": "0",
    }
    subprocess.run([*MILLSTREAM, "topics"], env=environment, cwd=pipeline.directory, check=True, capture_output=True)
    with (
        pipeline.worker() as worker,
        subprocess.Popen(
            [*MILLSTREAM, "serve", "--port", "0"],
            env=environment,
            cwd=pipeline.directory,
            stdout=subprocess.PIPE,
            text=True,
        ) as serving,
    ):
        await worker.running()
        understanding = pipeline.start("env", "MILLSTREAM_CONTENT__ENCODER=/none", *MILLSTREAM, "understand")
        await until(lambda: "running: " in understanding.said)
        assert serving.stdout is not None
        yield serving.stdout.readline().split()[2].rstrip(",")
        understanding.kill()
        serving.terminate()


MILLSTREAM = [sys.executable, "-m", "millstream.agents.cli"]


def operations(address: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path != STREAM:
            yield operation


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_nothing_asked_gives_a_5xx_or_an_undocumented_answer(address: str, mode: schemathesis.GenerationMode) -> None:
    """Every route, with values its description allows and with values that it does not."""
    asked = 0
    for operation in operations(address):
        if mode is schemathesis.GenerationMode.NEGATIVE and operation.path in WITHOUT_PARAMETERS:
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            if len(case.as_transport_kwargs()["url"]) + len(str(case.query)) > LONGEST_URL:
                return
            case.validate_response(case.call(headers=KEY, timeout=10), checks=CHECKS)

        ask()
    assert asked > 100


def test_every_route_is_described_with_what_it_may_refuse(address: str) -> None:
    """Each says what comes of a missing key, and has an example of what it takes and gives."""
    described = httpx.get(f"{address}/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            place = f"{method} {path}"
            assert route["description"], place
            if path.startswith("/v1/"):
                assert {"401", "403", "429"} <= set(route["responses"]), place
                assert route["security"], place
    assert described["components"]["schemas"]["ListOut"]["example"]
    # from the model, for OpenAPI's writer leaves nulls out of examples
    ListOut.model_validate(ListOut.model_json_schema()["example"], strict=True)
