"""Our Avro schemas, the schemas others write with, and whether one can read what the other wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Protocol

import avro.compatibility
import avro.errors
import avro.schema
import fastavro
from fastavro.types import Schema as FastavroSchema

OUR_SCHEMAS = ("interaction", "item", "slate", "dead_letter")
"""The schema files of this package, without `.avsc`."""


class WrongSchema(ValueError):
    """A text that is no Avro schema; the message says what is wrong with it."""


class UnreadableSchema(ValueError):
    """A reader schema that cannot read what a writer schema wrote; the message lists every incompatibility."""


@dataclass(frozen=True, slots=True, eq=False)
class AvroSchema:
    """One parsed schema, ready for the hot path."""

    fullname: str
    """Namespace and name of a record; the type's name otherwise."""
    definition: Any
    """The schema as plain JSON data."""
    parsed: FastavroSchema
    """The schema as fastavro wants it."""
    fingerprint: bytes
    """CRC-64-AVRO of the parsing canonical form: 8 bytes, little-endian, as single-object encoding carries it."""

    @classmethod
    def parse(cls, text: str) -> AvroSchema:
        """Parse a schema's JSON text. Raises `WrongSchema`."""
        try:
            fingerprint = avro.schema.parse(text).fingerprint("CRC-64-AVRO")
            definition = json.loads(text)
            # a copy: fastavro keeps what it parsed in named schemas of its own, and ours stays plain JSON
            parsed = fastavro.parse_schema(json.loads(text))
        except (avro.errors.AvroException, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
            raise WrongSchema(f"no Avro schema: {error}") from error
        name = parsed["name"] if isinstance(parsed, dict) and "name" in parsed else str(definition)
        return cls(name, definition, parsed, fingerprint)

    def field_names(self) -> frozenset[str]:
        """Return the names of a record's fields; empty for any other schema."""
        if not isinstance(self.definition, dict):
            return frozenset()
        return frozenset(field["name"] for field in self.definition.get("fields", ()))


@cache
def our_schema(name: str) -> AvroSchema:
    """Return one of `OUR_SCHEMAS`, from the package's own files."""
    return AvroSchema.parse((resources.files(__package__) / f"{name}.avsc").read_text(encoding="utf-8"))


def incompatibilities(writer: AvroSchema, reader: AvroSchema) -> list[str]:
    """Return what keeps `reader` from reading what `writer` wrote, one line each, sorted; empty if nothing does.

    Source: the schema resolution rules of the Avro specification, as the `avro` package checks them.
    """
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro leaves it so
    result = checker.get_compatibility(
        reader=avro.schema.parse(json.dumps(reader.definition)), writer=avro.schema.parse(json.dumps(writer.definition))
    )
    if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return []
    places = ", ".join(sorted(result.locations))
    kinds = ", ".join(sorted({kind.value for kind in result.incompatibilities}))
    return [f"{message} ({kinds} at {places})" for message in sorted(result.messages)] or [f"{kinds} at {places}"]


def check_readable(writer: AvroSchema, reader: AvroSchema) -> None:
    """Raise `UnreadableSchema` unless every message of `writer` can be read as `reader`."""
    problems = incompatibilities(writer, reader)
    if problems:
        lines = "\n  ".join(problems)
        raise UnreadableSchema(
            f"{reader.fullname} cannot read what {writer.fullname} wrote:\n  {lines}\n"
            "Give new fields and enums a default, keep the types of old ones, and rename by alias."
        )


class SchemaLookup(Protocol):
    """Where writer schemas come from.

    None means: certainly unknown, so the message is a dead letter. An implementation that cannot tell (a registry that
    does not answer) raises, and the decoder lets that pass: the message is not to blame.
    """

    def by_id(self, schema_id: int) -> AvroSchema | None:
        """Return the schema a registry gave this id."""
        ...

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema | None:
        """Return the schema of this CRC-64-AVRO fingerprint (8 bytes, little-endian)."""
        ...


class KnownSchemas:
    """The schemas it was told of, and our own present ones.

    Add older versions of ours, and events written before a change still read.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, AvroSchema] = {}
        self._by_fingerprint: dict[bytes, AvroSchema] = {}
        for name in OUR_SCHEMAS:
            self.add(our_schema(name))

    def add(self, schema: AvroSchema, *, schema_id: int | None = None) -> None:
        """Make a schema known by its fingerprint and, if given, by its registry id."""
        self._by_fingerprint[schema.fingerprint] = schema
        if schema_id is not None:
            self._by_id[schema_id] = schema

    def by_id(self, schema_id: int) -> AvroSchema | None:
        """Return the schema added under this id."""
        return self._by_id.get(schema_id)

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema | None:
        """Return the schema added that has this fingerprint."""
        return self._by_fingerprint.get(fingerprint)
