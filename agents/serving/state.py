"""The routes that say how this process stands: alive, ready, and in figures."""

from __future__ import annotations

from fastapi import APIRouter, Response

from millstream.streams.reader import AsyncReader

from .metrics import CONTENT_TYPE, Metrics
from .models import refusals


def state(reader: AsyncReader, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["state"])

    @router.get("/healthz")
    async def healthy() -> dict[str, str]:
        """Say that this process runs, whatever it depends on."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"description": "Redis does not answer."}})
    async def ready(response: Response) -> dict[str, str]:
        """Say whether lists can be read; 503 while Redis does not answer."""
        if await reader.answers():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "redis does not answer"}

    @router.get(
        "/metrics",
        response_class=Response,
        responses=refusals() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def figures() -> Response:
        """Return figures for Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router
