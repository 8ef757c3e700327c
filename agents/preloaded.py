"""What a worker imports and loads before it reads its settings; importing this does it all. For `forked`."""

from __future__ import annotations

import faust
import uvloop

from millstream.online_learning import interest_loss

from . import pipeline
from .warm_up import compile_kernels

__all__ = ["faust", "interest_loss", "pipeline", "uvloop"]

compile_kernels()
