"""What a state was computed with: the CPU, and the versions of what computes. Only the same do it the same again."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_COMPUTING = ("numpy", "numba", "llvmlite", "torch")
_CPUINFO = Path("/proc/cpuinfo")


@cache
def made_with() -> dict[str, str]:
    """Return the CPU's name, and the version of Python and of each locked package that computes."""
    return {"cpu": _cpu(), "python": platform.python_version(), **{name: _version(name) for name in _COMPUTING}}


def differences(then: dict[str, str]) -> list[str]:
    """Return in words what is another now than it was `then`."""
    return [
        f"{name} was {then[name]}, is {now}" for name, now in made_with().items() if name in then and then[name] != now
    ]


def _cpu() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
