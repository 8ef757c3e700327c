"""The shape of the house: what may import what, and what an import must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "schemas": {"schemas"},
    "online_learning": {"online_learning", "schemas"},
    "streams": {"streams", "schemas", "online_learning"},
    "agents": {"agents", "streams", "online_learning", "schemas"},
}
# The settings hold the learner's settings as one section; nothing else of the edges knows the learner.
LEARNER_SEEN_BY_EDGES = {"streams/settings.py": {"millstream.online_learning.config"}}
EDGE_LIBRARIES = {
    "aiohttp",
    "aiokafka",
    "confluent_kafka",
    "fastapi",
    "faust",
    "hiredis",
    "http.client",
    "http.server",
    "httpx",
    "kafka",
    "mode",
    "redis",
    "requests",
    "starlette",
    "urllib.request",
    "urllib3",
    "uvicorn",
    "valkey",
}
HEAVY = {"torch", "numba", "faust", "numpy", "pydantic", "aiokafka", "kafka", "fastavro"}


def _files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _modules(folder: str) -> list[str]:
    return [_module(path) for path in _files(folder)]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("millstream", *(part for part in parts if part != "__init__")))


def _imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, also inside functions; relative ones made absolute."""
    package = _module(path).split(".") if path.name == "__init__.py" else _module(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from millstream.streams import topics` imports a module by its name in the list
            yield from (f"{name}.{alias.name}" for alias in node.names) if name.count(".") < 2 else (name,)


def _loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter and return the names of the modules it leaves loaded."""
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("folder", ["schemas", "online_learning"])
def test_the_core_loads_no_kafka_redis_faust_or_http(folder: str) -> None:
    """All modules of the pure packages are imported together; none brings in a library of the edges.

    Torch loads the standard library's HTTP client for its own ends; what it brings alone is not ours.
    """
    loaded = _loaded_by("import " + ", ".join(_modules(folder)))
    assert set(_modules(folder)) <= loaded
    assert not (loaded - _loaded_by("import torch")) & EDGE_LIBRARIES


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder: str) -> None:
    """agents → streams → schemas and agents → online_learning → schemas, by reading every import statement."""
    wrong = []
    for path in _files(folder):
        place = str(path.relative_to(ROOT))
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "millstream":
                continue
            allowed = parts[1] in MAY_IMPORT[folder]
            if folder == "streams" and parts[1] == "online_learning":
                seen = LEARNER_SEEN_BY_EDGES.get(place, set())
                allowed = any(name == module or name.startswith(f"{module}.") for module in seen)
            if not allowed:
                wrong.append(f"{place} imports {name}")
    assert not wrong


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_within_a_folder_imports_are_relative(folder: str) -> None:
    """`from .records import` inside schemas, `from millstream.schemas.records import` from elsewhere."""
    wrong = []
    for path in _files(folder):
        if path.parent != ROOT / folder:
            continue  # a subpackage says millstream.agents.x, which reads better than two dots
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"millstream.{folder}"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {node.module}")
    assert not wrong


def test_the_reader_loads_only_what_a_serving_process_has() -> None:
    """A web service that reads lists, and says why in words, pays for redis and msgspec and nothing else."""
    assert not _loaded_by("import millstream.streams.reader, millstream.schemas.words") & HEAVY


def test_listing_the_commands_loads_none_of_them() -> None:
    """`millstream --help` is quick: no kernels are compiled and no Faust app is made for it."""
    statement = (
        "import contextlib, io\nfrom millstream.agents.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n  main(['--help'], standalone_mode=False)\n"
        "assert 'doctor' in out.getvalue()"
    )
    assert not _loaded_by(statement) & {"numba", "faust", "torch", "numpy", "aiokafka"}


def test_every_module_says_what_it_is_for_and_fits_a_screen_or_few() -> None:
    """Each file begins with a docstring and stays a room: at most 400 lines."""
    for folder in MAY_IMPORT:
        for path in _files(folder):
            text = path.read_text()
            place = path.relative_to(ROOT)
            assert ast.get_docstring(ast.parse(text)), f"{place} has no docstring"
            assert len(text.splitlines()) <= 400, f"{place} is too long to read in one go"


def test_every_package_is_in_both_tables_of_the_build() -> None:
    """A folder with code that the build does not list would be missing from the wheel."""
    import tomllib

    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {str(path.parent.relative_to(ROOT)) for folder in MAY_IMPORT for path in _files(folder)}
    assert set(tables["package-dir"].values()) == folders
    assert set(tables["packages"]) == {"millstream." + folder.replace("/", ".") for folder in folders}
    assert set(tables["package-dir"]) == set(tables["packages"])
