"""Our Avro schemas: whole, documented, and readable across versions."""

from __future__ import annotations

import json
from typing import Any

import fastavro
import msgspec
import pytest

from millstream.schemas.avro_schemas import (
    OUR_SCHEMAS,
    AvroSchema,
    KnownSchemas,
    UnreadableSchema,
    WrongSchema,
    check_readable,
    our_schema,
)
from millstream.schemas.records import DeadLetter, Interaction, Item, Kind, Slate

RECORDS: dict[str, type[msgspec.Struct]] = {
    "interaction": Interaction,
    "item": Item,
    "slate": Slate,
    "dead_letter": DeadLetter,
}


def _records(definition: Any) -> list[dict[str, Any]]:
    if isinstance(definition, list):
        return [record for part in definition for record in _records(part)]
    if not isinstance(definition, dict):
        return []
    inner = [_records(definition.get(key)) for key in ("type", "items", "values")]
    fields = [_records(field["type"]) for field in definition.get("fields", ())]
    own = [definition] if definition.get("type") == "record" else []
    return own + [record for part in inner + fields for record in part]


@pytest.mark.parametrize("name", OUR_SCHEMAS)
def test_every_field_has_a_doc(name: str) -> None:
    """Each record says what it is, and so does each of its fields, nested ones too."""
    for record in _records(our_schema(name).definition):
        assert record["doc"]
        assert all(field.get("doc") for field in record["fields"]), record["name"]


@pytest.mark.parametrize("name", OUR_SCHEMAS)
def test_schema_has_the_fields_of_the_record(name: str) -> None:
    """The Avro record and the Python record name the same fields, under one namespace."""
    schema = our_schema(name)
    assert schema.field_names() == set(RECORDS[name].__struct_fields__)
    assert schema.fullname == f"millstream.{RECORDS[name].__name__}"


@pytest.mark.parametrize("name", ["interaction", "item"])
def test_what_the_record_may_omit_has_a_default(name: str) -> None:
    """A producer may leave out in Avro what it may leave out in Python, and nothing else."""
    optional = {field.name for field in msgspec.structs.fields(RECORDS[name]) if not field.required}
    defaulted = {field["name"] for field in our_schema(name).definition["fields"] if "default" in field}
    assert defaulted == optional


def test_kind_symbols_are_the_kinds_in_order() -> None:
    """The enum's symbols are Kind's names by number, with the least of them as default."""
    (kind,) = (field for field in our_schema("interaction").definition["fields"] if field["name"] == "kind")
    assert kind["type"]["symbols"] == [each.name for each in Kind]
    assert kind["type"]["default"] == "impression"


@pytest.mark.parametrize("name", OUR_SCHEMAS)
def test_fingerprint_agrees_with_another_implementation(name: str) -> None:
    """`avro` and `fastavro` compute the same CRC-64-AVRO; ours is its little-endian bytes."""
    schema = our_schema(name)
    canonical = fastavro.schema.to_parsing_canonical_form(schema.definition)
    assert schema.fingerprint.hex() == fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")


def test_fingerprint_of_the_specification_s_example() -> None:
    """The schema `"null"` has fingerprint 63dd24e7cc258f8a (Avro specification), so little-endian on the wire."""
    assert AvroSchema.parse('"null"').fingerprint.hex() == "8a8f25cce724dd63"


def _changed(**changes: Any) -> AvroSchema:
    definition = json.loads(json.dumps(our_schema("interaction").definition))
    definition["fields"] = [
        changes.get(field["name"], field)
        for field in definition["fields"]
        if changes.get(field["name"], field) is not None
    ]
    definition["fields"] += changes.get("new", [])
    return AvroSchema.parse(json.dumps(definition))


def test_new_field_with_a_default_still_reads_old_events() -> None:
    """Adding an optional field is a change that keeps old events readable."""
    check_readable(our_schema("interaction"), _changed(new=[{"name": "page", "type": "string", "default": ""}]))


def test_new_field_without_a_default_is_named() -> None:
    """Adding a required field would make old events unreadable, and the error says which field."""
    with pytest.raises(UnreadableSchema, match=r"Interaction cannot read .*\n.*page.*reader_field_missing_default"):
        check_readable(our_schema("interaction"), _changed(new=[{"name": "page", "type": "string"}]))


def test_changed_type_is_named() -> None:
    """A time that becomes text would make old events unreadable."""
    with pytest.raises(UnreadableSchema, match="string not compatible with writer type: long"):
        check_readable(our_schema("interaction"), _changed(ts_ms={"name": "ts_ms", "type": "string"}))


def test_every_incompatibility_is_listed() -> None:
    """Two mistakes make two lines."""
    reader = _changed(ts_ms={"name": "ts_ms", "type": "string"}, new=[{"name": "page", "type": "string"}])
    with pytest.raises(UnreadableSchema) as raised:
        check_readable(our_schema("interaction"), reader)
    assert "page" in str(raised.value)
    assert "writer type: long" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{}", '{"type": "record", "name": "A"}', '"nonsense"', "[1]"])
def test_text_that_is_no_schema_is_refused(text: str) -> None:
    """Whatever is wrong with a schema's text, the error is ours."""
    with pytest.raises(WrongSchema):
        AvroSchema.parse(text)


def test_known_schemas_find_by_id_and_fingerprint() -> None:
    """A schema that was added is found both ways; ours are there from the start; others are None."""
    known = KnownSchemas()
    old = _changed(vector=None)
    known.add(old, schema_id=7)
    assert known.by_id(7) is old
    assert known.by_fingerprint(old.fingerprint) is old
    assert known.by_fingerprint(our_schema("item").fingerprint) is our_schema("item")
    assert known.by_id(8) is None
    assert known.by_fingerprint(b"\0" * 8) is None
