"""What a worker imports and loads before it reads its settings; importing this does it all. For `forked`."""

from __future__ import annotations

import faust
import uvloop

from . import pipeline
from .warm_up import compile_kernels, load_training

__all__ = ["faust", "pipeline", "uvloop"]

compile_kernels()
load_training()
