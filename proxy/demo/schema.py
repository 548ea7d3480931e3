"""Do these arguments fit this schema? The few words of JSON Schema that the tools use, and no more."""

import re
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
}


def find_fault(arguments: dict[str, Any], schema: dict[str, Any]) -> str | None:
    """Say what is wrong with the arguments, for the one who has to correct them; None if they fit."""
    properties = schema["properties"]
    for name in schema.get("required", ()):
        if name not in arguments:
            return f"argument {name!r} is missing"
    for name, value in arguments.items():
        if name not in properties:
            return f"there is no argument {name!r}"
        if fault := _find_value_fault(value, properties[name]):
            return f"argument {name!r} must be {fault}"
    return None


def _find_value_fault(value: Any, schema: dict[str, Any]) -> str | None:
    kind = schema["type"]
    # A bool is an int in Python, and 3.0 is an integer in JSON Schema.
    is_kind = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if not is_kind or (kind == "integer" and value % 1 != 0):
        return f"of type {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return "one of " + ", ".join(schema["enum"])
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return f"a string that matches {schema['pattern']}"
    if "minimum" in schema and not schema["minimum"] <= value <= schema["maximum"]:
        return f"from {schema['minimum']} to {schema['maximum']}"
    return None
