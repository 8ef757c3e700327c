"""How kernels are compiled: numba, no GIL, no fastmath, cached on disk under a name that changes with any kernel.

Numba's own cache looks at one file's time stamp and does not notice a changed callee in another file, so the cache
folder is named by a hash of every source file of this package that holds a kernel. No fastmath: reordered sums would
make the state hash depend on the compiler's mood. A kernel hands a constant on as `int(CONSTANT)`: of a literal, numba
would compile a version of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def source_digest() -> str:
    """Return 16 hex digits over all sources of this package that hold kernels, and numba's version."""
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_bytes()
        if b"from .compiled import" in source or path.name == "compiled.py":
            digest.update(path.name.encode() + b"\0" + source)
    return digest.hexdigest()


def cache_directory() -> Path:
    """Return where compiled kernels of these very sources are kept: `~/.cache/millstream/kernels/<digest>`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "millstream" / "kernels" / source_digest()


os.environ["NUMBA_CACHE_DIR"] = str(cache_directory())
numba.core.config.reload_config()  # type: ignore[no-untyped-call]  # numba read its environment when it was imported


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no division checks; every divisor in the kernels is guarded where it is made
    "boundscheck": False,
    # Kernels allocate nothing and own no array, so they need no reference counts. With them, every view of a row and
    # every call that passes the state on costs atomic increments: an event that only counts took 22 µs, now 8.
    "_nrt": False,
    "no_cfunc_wrapper": True,  # nobody calls a kernel from C
}


_NO_WAY_IN: dict[str, Any] = {"no_cpython_wrapper": True}


def entry(function: F) -> F:
    """Compile `function` on first call, or load it from the cache; it runs without the GIL and allocates nothing.

    For what Python calls. Taking the model's arrays out of Python's objects is code that compiles for seconds.
    """
    return cast("F", numba.njit(cache=True, **_OPTIONS)(function))


def kernel(function: F) -> F:
    """Compile `function` as `entry` does, for kernels to call: without a way in from Python.

    Python may call it all the same, a test for one; then it is compiled once more, as an entry of another name.
    """
    compiled = numba.njit(cache=True, **_OPTIONS, **_NO_WAY_IN)(function)
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__qualname__ = f"{function.__qualname__}_from_python"
    from_python = entry(twin)

    def add_overload(result: Any) -> None:
        compiled.overloads[tuple(result.signature.args)] = result  # where kernels look, not where Python's calls do

    compiled.add_overload = add_overload
    compiled._compile_for_args = lambda *_, **__: from_python  # what numba calls then
    return cast("F", compiled)


def inlined(function: F) -> F:
    """Compile `function` into each of its callers.

    For the few lines in an innermost loop that must become vectors, and for those that take the whole model and are
    called from one place: passing its arrays on is code as well.
    """
    return cast("F", numba.njit(inline="always", **_OPTIONS)(function))
