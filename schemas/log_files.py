"""What a recorded log is on disk: JSON lines, CSV or an Avro container, plain or gzipped.

This room only takes files apart; what the records mean is `recorded`'s.
"""

from __future__ import annotations

import csv
import enum
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import fastavro

from .avro_schemas import AvroSchema, WrongSchema
from .mapping import InputMapping
from .rejects import Flaw, RejectCode
from .wire import resolve

_BLOCK_BYTES = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_AVRO_MAGIC = b"Obj\x01"
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".avro": "avro"}
_DELIMITERS = ",\t;|"


class UnreadableLog(ValueError):
    """A file that cannot be read as a log at all; the message has its name, what is wrong, and the remedy."""


class LogForm(enum.Enum):
    """How a log's records are laid out."""

    jsonl = "jsonl"
    csv = "csv"
    avro = "avro"


class Numbered(NamedTuple):
    """One record of a file, or why it is none. `place` is its line, or its number in an Avro file, from 1."""

    place: int
    record: dict[str, Any] | Flaw
    ours: bool = False


@contextmanager
def open_log(path: Path) -> Iterator[IO[bytes]]:
    """Open a log for reading, unzipped if its first bytes say it is gzipped.

    Raises `UnreadableLog` if it is not there, cannot be read, or ends too early; also while the caller reads from it.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked, io.BufferedReader(unpacked, _BLOCK_BYTES) as buffered:
                yield buffered
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableLog(f"{path}: {error}; is the path right and the file whole?") from error


def log_form(path: Path, file: IO[bytes]) -> LogForm:
    """Return a log's form, by its name or else by its first bytes; `file` stands at its start, before and after."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return LogForm(_SUFFIXES[suffixes[-1]])
    head = file.read(64)
    file.seek(0)
    if head.startswith(_AVRO_MAGIC):
        return LogForm.avro
    return LogForm.jsonl if not head.strip() or head.lstrip().startswith(b"{") else LogForm.csv


def message_blocks(file: IO[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of a JSON-lines file, in blocks of a few megabytes, without line ends; blank lines stay."""
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if lines:
            yield lines
    if rest:
        yield [rest]


def csv_records(path: Path, file: IO[bytes], mapping: InputMapping, required: str) -> Iterator[Numbered]:
    """Yield the rows of a CSV file by its header's names; an empty cell is an absent field.

    The delimiter is the one of comma, tab, semicolon and bar that the header has most of. Text that is no number stays
    text where a number should be, so that the rules name it. Raises `UnreadableLog` if no column is `required`.
    """
    # surrogateescape: bytes that are no UTF-8 make that row's id a bad one instead of ending the file
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    first = text.readline()
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not set(header) & set(mapping.names(required)):
        names = " or ".join(mapping.names(required))
        raise UnreadableLog(f"{path}: its first line must be a header with a column {names}; it has {header[:12]}")
    whole = {name for ours in ("ts_ms", "position") for name in mapping.names(ours)}
    decimal = {name for ours in ("value", "propensity") for name in mapping.names(ours)}
    rows = csv.reader(text, delimiter=delimiter)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:  # such as a cell of over 128 KiB; the reader starts afresh on the next line
            yield Numbered(rows.line_num + 1, Flaw(RejectCode.wrong_type, f"no CSV row: {error}"))
            continue
        if not row:
            continue
        record: dict[str, Any] = {name: cell for name, cell in zip(header, row, strict=False) if cell}
        for name in whole & record.keys():
            record[name] = _number(record[name], int)
        for name in decimal & record.keys():
            record[name] = _number(record[name], float)
        yield Numbered(rows.line_num + 1, record)
    text.detach()  # the file is the caller's to close


def _number(cell: str, kind: type[int] | type[float]) -> int | float | str:
    try:
        return kind(cell)
    except ValueError:
        try:
            return float(cell)  # 1.7e12 is whole milliseconds too
        except ValueError:
            return cell


def avro_records(path: Path, file: IO[bytes], ours: AvroSchema, optional: str | None = None) -> Iterator[Numbered]:
    """Yield the records of an Avro container, as our schema where that reads the file's, else by the file's own names.

    Raises `UnreadableLog` where the file is damaged, saying how many records came before.
    """
    number = 0
    try:
        header = fastavro.reader(file)
        resolution = resolve(AvroSchema.parse(json.dumps(header.writer_schema)), ours, optional)
        file.seek(0)
        for number, record in enumerate(fastavro.reader(file, resolution.reader), start=1):
            if isinstance(record, dict):
                yield Numbered(number, record, resolution.ours)
            else:
                yield Numbered(number, Flaw(RejectCode.wrong_type, "no record: the file's schema must be a record"))
    except (OSError, EOFError, zlib.error, GeneratorExit):
        raise
    except WrongSchema as error:
        raise UnreadableLog(f"{path}: its schema is none: {error}") from error
    except Exception as error:  # fastavro has no error class of its own: damaged bytes raise ValueError, IndexError, …
        raise UnreadableLog(f"{path}: damaged after {number} records: {type(error).__name__} {error}") from error
