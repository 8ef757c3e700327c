"""Saying which setting is wrong, by the name its owner wrote: a variable, a key of the file, or an argument.

`wrong_settings` turns what pydantic found into lines like

    MILLSTREAM_REDIS__LIST_TTL_S = '0': must be greater than or equal to 1
    millstream.toml: redis.urll = 'x': no such setting; did you mean redis.url?
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

ENV_PREFIX = "MILLSTREAM_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "MILLSTREAM_CONFIG"
"""Names the file, so it is no setting itself."""

Place = tuple[str | int, ...]
"""Where a setting stands: section, key, and what is inside."""
_PASSWORD = re.compile(r"(://[^/@\s]*:)[^@\s]*@")
_LONGEST_VALUE = 80
_MISSING = "is missing"


class WrongSettings(ValueError):
    """One or more settings cannot be used; the message has a line for each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("wrong settings:\n  " + "\n  ".join(self.lines))


def read_file(path: Path, *, named: bool) -> dict[str, Any]:
    """Return what the file sets. Without a file that is nothing, unless `named` says that somebody asked for this one.

    Raises `WrongSettings` when the file is asked for and missing, cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise WrongSettings([f"{CONFIG_VARIABLE} = {str(path)!r}: there is no such file"]) from None
        return {}
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings([f"{path}: not TOML: {error}"]) from error
    except UnicodeDecodeError as error:
        raise WrongSettings([f"{path}: not UTF-8 text: {error}"]) from error
    except OSError as error:
        raise WrongSettings([f"{path}: cannot be read: {error.strerror}"]) from error


def sections(settings: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return the keys of each section; none for a setting that stands alone, as the list of inputs does."""
    keys: dict[str, tuple[str, ...]] = {}
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys[name] = tuple(kind.model_fields)
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            keys[name] = tuple(key.name for key in dataclasses.fields(kind))
        else:
            keys[name] = ()
    return keys


def unknown_variables(environment: Mapping[str, str], settings: type[BaseModel]) -> dict[str, str]:
    """Return a line for each variable with our prefix that sets nothing, by the variable's name in upper case."""
    known = {CONFIG_VARIABLE: CONFIG_VARIABLE.removeprefix(ENV_PREFIX)}
    for section, keys in sections(settings).items():
        for place in ((section,), *((section, key) for key in keys)):
            known[_variable(place)] = _variable(place).removeprefix(ENV_PREFIX)
    lines = {}
    for name in sorted(environment):
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper not in known:
            near = difflib.get_close_matches(upper.removeprefix(ENV_PREFIX), known.values(), n=1, cutoff=0.7)
            hint = f"; did you mean {ENV_PREFIX}{near[0]}?" if near else ""
            lines[upper] = f"{name}: no such setting{hint}"
    return lines


def unparsable_variables(environment: Mapping[str, str], settings: type[BaseModel]) -> list[str]:
    """Return a line for each variable that sets a whole section or list and is not JSON."""
    whole = {ENV_PREFIX + name.upper() for name in settings.model_fields}
    lines = []
    for name, value in sorted(environment.items()):
        if name.upper() in whole:
            try:
                json.loads(value)
            except ValueError as error:
                lines.append(f"{name} = {_shown(value)}: must be JSON: {error}")
    return lines


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What was set where, strongest first."""

    overrides: Mapping[str, Any]
    environment: Mapping[str, str]
    file: Mapping[str, Any]
    path: Path

    def written_name(self, place: Place) -> str:
        """Return the setting at `place` as its owner wrote it."""
        if _holds(self.overrides, place):
            return _dotted(place)
        variables = {name.upper(): name for name in self.environment}
        for depth in range(min(2, len(place)), 0, -1):
            if (variable := _variable(place[:depth])) in variables:
                inside = _dotted(place[depth:])
                return variables[variable] + (f": {inside}" if inside and inside[0] != "[" else inside)
        # a key that is missing stands nowhere, what it is missing from does
        in_file = _holds(self.file, place) or _holds(self.file, place[:-1])
        return f"{self.path}: {_dotted(place)}" if in_file else _dotted(place)


def wrong_settings(error: ValidationError, sources: Sources, settings: type[BaseModel]) -> list[str]:
    """Return a line for each setting that pydantic refused, unknown variables left out (`unknown_variables`)."""
    unknown = unknown_variables(sources.environment, settings)
    keys = sections(settings)
    dotted = [f"{section}.{key}" for section in keys for key in keys[section]] + list(keys)
    messages: dict[Place, list[str]] = {}
    values: dict[Place, object] = {}
    for problem in error.errors():
        place = problem["loc"]
        if place and keys.get(str(place[0])):
            place = place[:2]  # where a value may be of several types, pydantic adds which of them it tried
        if place and any(
            name == _variable(place) or name.startswith(_variable(place) + ENV_DELIMITER) for name in unknown
        ):
            continue
        messages.setdefault(place, []).append(_message(problem["type"], problem["msg"], place, dotted))
        values[place] = problem["input"]
    lines = []
    for place, found in messages.items():
        untold = found == [_MISSING] or any("key" in str(part) for part in place)  # no secret is repeated
        value = "" if untold else f" = {_shown(values[place])}"
        lines.append((f"{sources.written_name(place)}{value}: " if place else "") + ", or ".join(found))
    return lines


def _message(kind: str, text: str, place: Place, known: Iterable[str]) -> str:
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(_dotted(place), list(known), n=1, cutoff=0.7)
        return "no such setting" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "missing":
        return _MISSING
    if kind in {"model_type", "dataclass_type"}:
        return "must be a section with keys of its own"
    text = text.removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return text.replace("a valid tuple", "a list", 1)


def _variable(place: Place) -> str:
    return ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in place).upper()


def _holds(tree: Any, place: Place) -> bool:
    for part in place:
        in_table = isinstance(tree, Mapping) and part in tree
        in_list = isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree)
        if not (in_table or in_list):
            return False
        tree = tree[part]
    return bool(place)


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def without_password(text: str) -> str:
    """Return `text` with the password of any URL in it left out."""
    return _PASSWORD.sub(r"\1***@", text)


def _shown(value: object) -> str:
    text = without_password(repr(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
