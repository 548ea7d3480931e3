"""How does what a tool puts out fit into revisions that know only objects?

Since 2026-07-28 a tool's `outputSchema` may describe any value and its `structuredContent` be one; before, both are
objects, and clients refuse a whole list of tools for one that is not. What is no object is put into one, as its member
`result`.

Spec: 2025-11-25 server/tools, Output Schema; 2026-07-28 server/tools, Output Schema.
"""

from collections.abc import Callable
from json import dumps

from msgspec import Raw

from proxy.errors import TooDeep
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode, parse_array, parse_members

MAX_SCHEMA_DEPTH = 64
"""How deep a schema is followed in search of references. Ours: one that is deeper is left out."""

MAX_TOOLS = 10_000
"""Tools that are remembered, in one session, for having an output that is no object. Ours: a runaway backstop."""

_OWN_PLACE = "#/properties/result"
_REFERENCES = ("$ref", "$dynamicRef")
_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SCHEMAS = frozenset(
    {
        *(
            "allOf",
            "anyOf",
            "oneOf",
            "prefixItems",
            "items",
            "additionalItems",
            "contains",
            "not",
            "if",
            "then",
            "else",
        ),
        *("additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema"),
    }
)
"""Members of a schema that hold one, or several in an array. Anything else may be data that only looks like one."""


class ToolOutputs:
    """What is known of the outputs of one server's tools: which of them must be put into an object."""

    def __init__(self) -> None:
        self._wrapped: dict[str, None] = {}

    def listed(self, result: Members) -> Members:
        """The result of `tools/list`, each tool with a schema for an object if it has one."""
        raw = result.get("tools")
        if raw is None or not bytes(raw).startswith(b"["):
            return result
        return {**result, "tools": Raw(encode([self._entry(Raw(entry)) for entry in parse_array(bytes(raw))]))}

    def called(self, name: str | None, result: Members) -> Members:
        """The result of a call of this tool, with an object as its structured content if it has any."""
        value = result.get("structuredContent")
        if value is None or (name not in self._wrapped and bytes(value).startswith(b"{")):
            return result
        return {**result, "structuredContent": Raw(encode({"result": value}))}

    def _entry(self, entry: Raw) -> Raw:
        tool = as_object(entry) or {}
        schema = tool.get("outputSchema")
        name = decode_id(tool["name"]) if "name" in tool else None
        is_wrapped = schema is not None and not _is_for_an_object(schema)
        if isinstance(name, str):
            self._remember(name, is_wrapped)
        return _with_schema(tool, _wrapped_schema(schema)) if schema is not None and is_wrapped else entry

    def _remember(self, name: str, is_wrapped: bool) -> None:
        self._wrapped.pop(name, None)
        if is_wrapped:
            self._wrapped[name] = None
            if len(self._wrapped) > MAX_TOOLS:
                del self._wrapped[next(iter(self._wrapped))]


def _is_for_an_object(schema: Raw) -> bool:
    members = as_object(schema)
    return members is not None and "type" in members and decode_id(members["type"]) == "object"


def _with_schema(tool: Members, schema: Raw | None) -> Raw:
    if schema is None:
        return Raw(encode({name: value for name, value in tool.items() if name != "outputSchema"}))
    return Raw(encode({**tool, "outputSchema": schema}))


def _wrapped_schema(schema: Raw) -> Raw | None:
    """A schema for an object whose `result` this one describes; None if it is too deep to be followed."""
    root = as_object(schema)
    dialect = {"$schema": root.pop("$schema")} if root is not None and "$schema" in root else {}
    try:
        moved = schema if root is None else _moved(Raw(encode(root)), 0)
    except TooDeep:
        return None
    return Raw(encode({**dialect, "type": "object", "properties": {"result": moved}, "required": ["result"]}))


def _moved(schema: Raw, depth: int) -> Raw:
    """The same schema for its new place: references from its root begin where it is now.

    Raises:
        TooDeep: If it is nested deeper than `MAX_SCHEMA_DEPTH`.
    """
    text = bytes(schema)
    if not any(f'"{name}"'.encode() in text for name in _REFERENCES) and b"\\" not in text:
        return schema
    if depth > MAX_SCHEMA_DEPTH:
        raise TooDeep
    if text.startswith(b"["):
        return Raw(encode([_moved(Raw(entry), depth + 1) for entry in parse_array(text)]))
    if not text.startswith(b"{"):
        return schema
    members = parse_members(text)
    if "$id" in members:  # a resource of its own: its references begin at itself, wherever it is
        return schema
    return Raw(encode({name: _member_moved(name, value, depth) for name, value in members.items()}))


def _member_moved(name: str, value: Raw, depth: int) -> Raw:
    if name in _REFERENCES:
        target = decode_id(value)
        if isinstance(target, str) and (target == "#" or target.startswith("#/")):
            return Raw(dumps(_OWN_PLACE + target[1:]).encode())  # not msgspec: it may hold an escaped lone surrogate
    elif name in _SCHEMAS:
        return _moved(value, depth + 1)
    elif name in _SCHEMAS_BY_NAME:
        return _each(value, lambda schema: _moved(schema, depth + 1))
    return value


def _each(named: Raw, change: Callable[[Raw], Raw]) -> Raw:
    members = as_object(named)
    return named if members is None else Raw(encode({name: change(value) for name, value in members.items()}))
