"""The file of a snapshot: what rows and ids hold, in frames with a checksum each, written from front to back.

    millstream snapshot 2\n
    frame …       rows of one table, or ids of one vocabulary; what stands later counts
    frame         the end: the header, JSON, with a checksum of all frames before it
    trailer       where the end stands

A frame is two lengths, two CRC-32, a few words of JSON and the bytes. A file without its trailer was not finished. One
that holds changes only names the file they come after (`after`), with the checksum of its end; it is read behind that.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Layout
from .snapshot_store import Store

FORMAT = 2
MAGIC = b"millstream snapshot %d\n" % FORMAT
_FRAME = struct.Struct("<IQII")  # bytes of words, of payload, CRC-32 of either
_TRAILER = struct.Struct("<Q8s")  # where the last frame begins
_END = b"MSNAPEND"
_PIECE_BYTES = 1 << 20
"""Bytes of rows in one frame, about."""
DAMAGE = (OSError, ValueError, LookupError, TypeError, EOFError, ArithmeticError, struct.error)
"""What reading bytes that are not what was written may raise."""


class UnreadableSnapshot(ValueError):
    """A snapshot file that is damaged, or of a newer format."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What rows of one table hold: each array at these rows, shape (len(rows), …)."""

    table: str
    rows: slice | NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids that rows of one vocabulary have."""

    vocabulary: str
    rows: Sequence[int]
    ids: list[str]


class SnapshotWriter:
    """Writes one file, frame by frame; `end` makes it whole."""

    def __init__(self, file: BinaryIO) -> None:
        self.bytes = file.write(MAGIC)
        self._file = file
        self._frames_crc = 0

    def rows(self, table: str, rows: slice | NDArray[np.int64], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write what rows hold: a stretch of rows, or those numbered; each array of shape (len(rows), …)."""
        words: dict[str, Any] = {"table": table}
        parts = [np.ascontiguousarray(array) for array in arrays.values()]
        if isinstance(rows, slice):
            words |= {"first": rows.start, "count": rows.stop - rows.start}
        else:
            words["count"] = len(rows)
            parts.insert(0, rows.astype("<u4"))
        self._frame(words, [part.reshape(-1).view(np.uint8) for part in parts])

    def ids(self, vocabulary: str, rows: slice | NDArray[np.int64], ids: Sequence[str]) -> None:
        """Write the ids that rows have."""
        at: Any = [rows.start, rows.stop] if isinstance(rows, slice) else rows.tolist()
        self._frame({"vocabulary": vocabulary, "stretch": isinstance(rows, slice)}, [_json([at, list(ids)])])

    def end(self, header: Mapping[str, Any], layout: Layout) -> int:
        """Write the header; return its frame's checksum, by which changes that come after this file name it."""
        at = self.bytes
        plain = {
            table: {name: [dtype.str, shape] for name, (dtype, shape) in arrays.items()}
            for table, arrays in layout.items()
        }
        end = {**header, "layout": plain, "frames_crc": self._frames_crc}
        crc = self._frame({"end": True}, [_json(end)])
        self.bytes += self._file.write(_TRAILER.pack(at, _END))
        return crc

    def _frame(self, words: Mapping[str, Any], payload: Sequence[Any]) -> int:
        head = _json(words)
        crc = 0
        for part in payload:
            crc = zlib.crc32(part, crc)
        lengths = _FRAME.pack(len(head), sum(map(len, payload)), zlib.crc32(head), crc)
        self._frames_crc = zlib.crc32(lengths, self._frames_crc)
        for part in (lengths, head, *payload):
            self.bytes += self._file.write(part)
        return crc


class SnapshotFile:
    """A file of this format, its header read and its end found to be whole.

    Raises `UnreadableSnapshot`, as does what reads on.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.place = f"{store.address}/{name}"
        """What people find it by."""
        self._store = store
        try:
            with store.open(name) as file:
                _check_format(self.place, file.readline(len(MAGIC) + 20))
                self.bytes = file.seek(0, 2)
                file.seek(max(0, self.bytes - _TRAILER.size))
                at, end = _TRAILER.unpack(file.read(_TRAILER.size))
                if end != _END:
                    raise ValueError("it was not finished")
                file.seek(at)
                end_frame = _read_frame(file, self.bytes)
            if "end" not in end_frame.words or end_frame.payload is None:
                raise ValueError("its end is not where it should be")
            self.crc = end_frame.crc
            self.header: dict[str, Any] = json.loads(bytes(end_frame.payload))
            self._frames_crc = self.header.pop("frames_crc")
            self.layout: Layout = {
                table: {array: (np.dtype(kind), tuple(shape)) for array, (kind, shape) in arrays.items()}
                for table, arrays in self.header.pop("layout").items()
            }
            self.seq = int(self.header["seq"])
        except UnreadableSnapshot:
            raise
        except DAMAGE as error:
            raise damaged(self.place, error) from error

    @property
    def after(self) -> tuple[str, int] | None:
        """The file whose changes these are, and its checksum; None: it stands alone."""
        after = self.header.get("after")
        return None if after is None else (str(after[0]), int(after[1]))

    def frames(self, tables: Collection[str] | None = None) -> Iterator[Rows | Ids]:
        """Yield the frames in order, of `tables` only, and all ids. Raises `UnreadableSnapshot` at a damaged one.

        Arrays are good until the next frame is asked for.
        """
        with self._store.open(self.name) as file:
            try:
                file.seek(len(MAGIC))
                frames_crc = 0
                while True:
                    start = file.tell()
                    frame = _read_frame(file, self.bytes, tables)
                    if "end" in frame.words:
                        if frames_crc != self._frames_crc:
                            raise ValueError("a frame is missing")
                        return
                    frames_crc = zlib.crc32(frame.lengths, frames_crc)
                    if frame.payload is not None:
                        read = self._ids if "vocabulary" in frame.words else self._rows
                        yield read(frame.words, frame.payload)
            except DAMAGE as error:
                raise damaged(self.place, f"{error}, at byte {start:,}") from error

    def _rows(self, words: Mapping[str, Any], payload: memoryview) -> Rows:
        table, count = words["table"], int(words["count"])
        rows: slice | NDArray[np.int64]
        if "first" in words:
            rows, at = slice(words["first"], words["first"] + count), 0
        else:
            rows, at = np.frombuffer(payload, "<u4", count).astype(np.int64), 4 * count
        arrays = {}
        for name, (dtype, (_, *shape)) in self.layout[table].items():
            values = np.frombuffer(payload, dtype, count * int(np.prod(shape, dtype=np.int64)), at)
            arrays[name] = values.reshape(count, *shape)
            at += values.nbytes
        if at != len(payload):
            raise ValueError(f"{len(payload):,} bytes of {table}, expected {at:,}")
        return Rows(table, rows, arrays)

    def _ids(self, words: Mapping[str, Any], payload: memoryview) -> Ids:
        at, ids = json.loads(bytes(payload))
        return Ids(words["vocabulary"], range(*at) if words["stretch"] else at, ids)


def rows_at_once(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return how many rows of a table make a frame."""
    return max(1, _PIECE_BYTES // max(1, sum(array[:1].nbytes for array in arrays.values())))


def damaged(place: str, why: object) -> UnreadableSnapshot:
    """Return the error for a file that is not what was written."""
    return UnreadableSnapshot(f"{place}: damaged ({why}); delete it to start from the one before")


def _check_format(place: str, line: bytes) -> None:
    found = re.fullmatch(rb"millstream snapshot (\d+)\n", line)
    if found is None:
        raise ValueError("it does not begin as a snapshot does")
    if int(found[1]) > FORMAT:
        raise UnreadableSnapshot(
            f"{place}: format {int(found[1])}, this version reads up to {FORMAT}; run the version that wrote it"
        )
    if line != MAGIC:
        raise ValueError(f"there is no format {int(found[1])} of this kind")


class _Frame(NamedTuple):
    lengths: bytes
    words: dict[str, Any]
    payload: memoryview | None
    """None: passed over."""
    crc: int


def _read_frame(file: BinaryIO, file_bytes: int, tables: Collection[str] | None = None) -> _Frame:
    """Return the next frame; rows that are of none of `tables` are passed over."""
    lengths = file.read(_FRAME.size)
    head_bytes, length, head_crc, crc = _FRAME.unpack(lengths)
    if head_bytes + length > file_bytes:
        raise ValueError("a frame is longer than the file")
    head = file.read(head_bytes)
    if zlib.crc32(head) != head_crc:
        raise ValueError("a checksum is wrong")
    words = json.loads(head)
    if tables is not None and "table" in words and words["table"] not in tables:
        file.seek(length, 1)
        return _Frame(lengths, words, None, crc)
    payload = file.read(length)
    if len(payload) != length or zlib.crc32(payload) != crc:
        raise ValueError("a checksum is wrong")
    return _Frame(lengths, words, memoryview(payload), crc)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
