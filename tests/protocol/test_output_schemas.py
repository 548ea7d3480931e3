"""What a tool puts out, for revisions that know only objects."""

import json
from typing import Any

import pytest

from proxy.protocol import output_schemas
from proxy.protocol.jsontext import parse_members
from proxy.protocol.output_schemas import ToolOutputs


def tools(*schemas: Any) -> bytes:
    """A `tools/list` result with tools t0, t1, ... of these schemas."""
    return json.dumps(
        {"tools": [{"name": f"t{n}", "outputSchema": schema} for n, schema in enumerate(schemas)]}
    ).encode()


def listed(outputs: ToolOutputs, result: bytes) -> Any:
    members = outputs.listed(parse_members(result))
    return json.loads(bytes(members["tools"]))


def schema_of(schema: Any) -> Any:
    """What becomes of one schema; None if it is left out."""
    return listed(ToolOutputs(), tools(schema))[0].get("outputSchema")


def called(outputs: ToolOutputs, name: str | None, result: bytes) -> bytes:
    return bytes(outputs.called(name, parse_members(result))["structuredContent"])


def wrapped(schema: Any) -> Any:
    return {"type": "object", "properties": {"result": schema}, "required": ["result"]}


def test_a_schema_for_an_object_stays_byte_for_byte() -> None:
    """Design part 4, bytes through."""
    entry = b'{"name":"t" , "outputSchema":{"type":"object","$ref":"#/$defs/a","maximum":12345678901234567890.10}}'

    members = ToolOutputs().listed(parse_members(b'{"tools":[' + entry + b"]}"))

    assert bytes(members["tools"]) == b"[" + entry + b"]"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "object"}, {"type": "string"}]},
        {},
        True,
    ],
)
def test_a_schema_for_anything_else_becomes_one_for_an_object(schema: Any) -> None:
    """Spec: 2025-11-25 server/tools: the root of an outputSchema has the type object."""
    assert schema_of(schema) == wrapped(schema)


def test_the_dialect_of_a_schema_stays_at_its_root() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array"}

    assert schema_of(schema) == {"$schema": schema["$schema"], **wrapped({"type": "array"})}


@pytest.mark.parametrize(
    ("schema", "moved"),
    [
        ({"$ref": "#"}, {"$ref": "#/properties/result"}),
        (
            {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, True]}}},
            {
                "type": "array",
                "items": {"$ref": "#/properties/result/$defs/a"},
                "$defs": {"a": {"anyOf": [{"$ref": "#/properties/result/$defs/a"}, True]}},
            },
        ),
        ({"$dynamicRef": "#/$defs/a"}, {"$dynamicRef": "#/properties/result/$defs/a"}),
        ({"$ref": "#anchor"}, {"$ref": "#anchor"}),
        ({"$ref": "https://example.com/a#/b"}, {"$ref": "https://example.com/a#/b"}),
        ({"$ref": 7}, {"$ref": 7}),
        ({"items": {"$id": "https://example.com/own", "$ref": "#/a"}}, None),
        ({"const": {"$ref": "#/a"}, "enum": [{"$ref": "#"}], "default": {"$ref": "#"}}, None),
        ({"properties": {"$ref": {"$ref": "#"}}}, {"properties": {"$ref": {"$ref": "#/properties/result"}}}),
        ({"properties": ["$ref"]}, None),
        ({"items": "$ref"}, None),
        ({"x-unknown": {"$ref": "#/a"}}, None),
    ],
)
def test_references_from_the_root_begin_where_it_is_now(schema: Any, moved: Any) -> None:
    assert schema_of(schema) == wrapped(moved or schema)


def test_a_reference_that_is_spelled_with_escapes_is_one() -> None:
    text = rb'{"tools":[{"name":"t","outputSchema":{"\u0024ref":"\u0023\/a\ud800"}}]}'

    (tool,) = listed(ToolOutputs(), text)

    assert tool["outputSchema"]["properties"]["result"] == {"$ref": "#/properties/result/a\ud800"}


def test_a_schema_that_is_too_deep_is_left_out_and_the_tool_stays() -> None:
    schema: Any = {"$ref": "#"}
    for _ in range(output_schemas.MAX_SCHEMA_DEPTH + 1):
        schema = {"not": schema}

    assert listed(ToolOutputs(), tools(schema)) == [{"name": "t0"}]
    assert schema_of(schema["not"]) is not None


@pytest.mark.parametrize("result", [b"{}", b'{"tools":7}', b'{"tools":[7,{"outputSchema":1},{"name":7}]}'])
def test_a_listing_of_another_shape_does_no_harm(result: bytes) -> None:
    ToolOutputs().listed(parse_members(result))


@pytest.mark.parametrize("value", [b"[1,2]", b'"text"', b"7.10", b"null", b"true"])
def test_a_value_that_is_no_object_is_put_into_one(value: bytes) -> None:
    assert called(ToolOutputs(), "t", b'{"structuredContent":' + value + b"}") == b'{"result":' + value + b"}"


def test_an_object_is_put_into_one_only_where_its_schema_says_so() -> None:
    outputs = ToolOutputs()
    listed(outputs, tools({"anyOf": [{"type": "object"}, {"type": "array"}]}, {"type": "object"}))
    result = b'{"structuredContent":{"a":1}}'

    assert called(outputs, "t0", result) == b'{"result":{"a":1}}'
    assert called(outputs, "t1", result) == b'{"a":1}'
    assert called(outputs, "unheard-of", result) == b'{"a":1}'
    assert called(outputs, None, result) == b'{"a":1}'

    listed(outputs, tools({"type": "object"}))
    assert called(outputs, "t0", result) == b'{"a":1}'


def test_a_result_without_structured_content_is_left_alone() -> None:
    result = parse_members(b'{"content":[]}')

    assert ToolOutputs().called("t", result) is result


def test_only_so_many_tools_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_schemas, "MAX_TOOLS", 2)
    outputs = ToolOutputs()

    listed(outputs, tools(True, True, True))

    result = b'{"structuredContent":{}}'
    assert [called(outputs, f"t{n}", result) for n in range(3)] == [b"{}", b'{"result":{}}', b'{"result":{}}']
