"""The first thing that went wrong for good: parts report it, whoever runs the pipeline waits for it."""

from __future__ import annotations

import asyncio


class Failure:
    """Holds the first error reported; later ones are its consequences and are dropped. One event loop."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._reported = asyncio.Event()

    def report(self, error: BaseException) -> None:
        """Note an error that ends the pipeline."""
        if self.error is None:
            self.error = error
            self._reported.set()

    async def wait(self) -> BaseException:
        """Return the first error, once there is one."""
        await self._reported.wait()
        assert self.error is not None
        return self.error
