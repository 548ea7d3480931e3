"""Do the headers of a request of revision 2026-07-28 say what its body says?

Whoever looks only at the headers (a gateway, a rate limit) and whoever looks only at the body (a child) must see the
same request.

Spec: 2026-07-28 basic/transports/streamable-http, Standard Headers, Custom Headers; SEP-2243.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from proxy.errors import HeaderMismatch, NotJson, RevisionUnsupported, TooDeep
from proxy.protocol.envelope import MODERN_VERSIONS, ModernRequest
from proxy.protocol.ids import decode_text
from proxy.protocol.jsontext import parse_members, refuse_duplicates

VERSION_HEADER = b"mcp-protocol-version"
METHOD_HEADER = b"mcp-method"
NAME_HEADER = b"mcp-name"
PARAM_PREFIX = b"mcp-param-"

_SENTINEL = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Method -> the member of `params` that `Mcp-Name` repeats."""


def decode_value(value: bytes, shown: str) -> str:
    """The text that a header value stands for.

    Args:
        value: As it came.
        shown: The name of the header, for the one who sent it.

    Raises:
        HeaderMismatch: If it is marked as base64 and is not the base64 of a text in UTF-8.
    """
    text = value.strip(b" \t").decode("latin-1")
    marked = _SENTINEL.fullmatch(text) if text.startswith("=?") else None
    if marked is None:
        return text
    try:
        data = base64.b64decode(marked[1], validate=True)
        if base64.b64encode(data).decode() != marked[1]:
            raise HeaderMismatch(f"Header mismatch: {shown} is not canonical base64")
        return data.decode()
    except (binascii.Error, ValueError) as exc:
        raise HeaderMismatch(f"Header mismatch: {shown} is not valid base64 of UTF-8") from exc


def refuse_repeated(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises HeaderMismatch if a header that routes a request stands there twice."""
    seen = set()
    for name, _ in headers:
        if name.startswith(b"mcp-") and name != b"mcp-session-id":
            if name in seen:
                raise HeaderMismatch(f"Header mismatch: {name.decode('latin-1')} is repeated")
            seen.add(name)


def check_routing(headers: Mapping[bytes, bytes], request: ModernRequest) -> None:
    """Hold the headers that route a request against its body.

    Raises:
        HeaderMismatch: If one is missing or says something else.
        RevisionUnsupported: If both name a revision that is not spoken here.
    """
    _check(headers, VERSION_HEADER, "MCP-Protocol-Version", request.version)
    if request.version not in MODERN_VERSIONS:
        raise RevisionUnsupported(data={"supported": list(MODERN_VERSIONS), "requested": request.version})
    _check(headers, METHOD_HEADER, "Mcp-Method", request.method)
    named_by = _NAMED_BY.get(request.method)
    name = request.text(named_by) if named_by is not None else None
    if name is not None:
        _check(headers, NAME_HEADER, "Mcp-Name", name)
    elif named_by is not None and NAME_HEADER in headers:
        raise HeaderMismatch(f"Header mismatch: Mcp-Name is given, but params.{named_by} is no string")


def _check(headers: Mapping[bytes, bytes], name: bytes, shown: str, expected: str) -> None:
    value = headers.get(name)
    if value is None:
        raise HeaderMismatch(f"Header mismatch: {shown} is missing")
    if expected.isascii() and value == expected.encode() and not value.startswith(b"=?"):
        return  # nearly every one
    if decode_value(value, shown) != expected:
        raise HeaderMismatch(f"Header mismatch: {shown} differs from the body")


# ---- custom headers: arguments of a tool that its schema wants repeated


class HeaderRule(NamedTuple):
    """One argument of a tool that a header repeats."""

    header: bytes
    """In lower case, prefix included."""
    path: tuple[str, ...]
    kind: Literal["string", "integer", "boolean"]


Rules = Mapping[str, tuple[HeaderRule, ...]]
"""Tool -> its rules; tools without any are left out."""


def rules_of_listing(result: Raw) -> dict[str, tuple[HeaderRule, ...]]:
    """The rules of the tools in one result of `tools/list`. What can't be understood has none."""
    if b"x-mcp-header" not in bytes(result):
        return {}
    try:
        tools = msgspec.json.decode(bytes(result)).get("tools", [])
    except (msgspec.DecodeError, AttributeError, RecursionError):
        return {}
    rules = {}
    for tool in tools if isinstance(tools, list) else []:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            found = rules_of_schema(tool.get("inputSchema"))
            if found:
                rules[tool["name"]] = found
    return rules


def rules_of_schema(schema: Any) -> tuple[HeaderRule, ...]:
    """The rules of one tool; none if one of its annotations is not allowed, as clients drop such a tool."""
    found: list[HeaderRule] = []
    try:
        _collect(schema, (), found)
    except (ValueError, RecursionError):
        return ()
    if len({rule.header for rule in found}) < len(found):
        return ()
    return tuple(found)


def _collect(schema: Any, path: tuple[str, ...], found: list[HeaderRule]) -> None:
    """Spec: annotations count only where `properties` alone lead from the root."""
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return
    for name, each in schema["properties"].items():
        if not isinstance(each, dict):
            continue
        if "x-mcp-header" in each:
            header, kind = each["x-mcp-header"], each.get("type")
            if not isinstance(header, str) or not _TOKEN.fullmatch(header):
                raise ValueError("x-mcp-header is no token")
            if kind not in ("string", "integer", "boolean"):
                raise ValueError("x-mcp-header on something that no header can carry")
            found.append(HeaderRule(PARAM_PREFIX + header.lower().encode(), (*path, name), kind))
        _collect(each, (*path, name), found)


def check_arguments(headers: Mapping[bytes, bytes], rules: Sequence[HeaderRule], arguments: Raw | None) -> None:
    """Hold the custom headers of a tool call against its arguments.

    Raises:
        HeaderMismatch: If a header is missing although its argument is there, is there although the argument is not,
            or says something else.
        NotJsonRpc: If an object on the way to such an argument names a member twice.
    """
    for rule in rules:
        value, header = _at(arguments, rule.path), headers.get(rule.header)
        shown = rule.header.decode()
        if value is None or bytes(value) == b"null":
            if header is not None:
                raise HeaderMismatch(f"Header mismatch: {shown} is given, its argument is not")
        elif header is None:
            raise HeaderMismatch(f"Header mismatch: {shown} is missing")
        elif not _says(decode_value(header, shown), value):
            raise HeaderMismatch(f"Header mismatch: {shown} differs from the argument")


def _at(raw: Raw | None, path: Sequence[str]) -> Raw | None:
    for name in path:
        if raw is None or not bytes(raw).startswith(b"{"):
            return None
        try:
            members = parse_members(bytes(raw))
        except (NotJson, TooDeep):
            return None
        refuse_duplicates(bytes(raw), members)
        raw = members.get(name)
    return raw


def _says(text: str, value: Raw) -> bool:
    """Whether a header says what an argument is. Numbers are compared as numbers: `42.0` is 42."""
    written = bytes(value)
    if written.startswith(b'"'):
        return decode_text(value) == text
    if written in (b"true", b"false"):
        return text == written.decode()
    if written[:1] in (b"{", b"["):
        return False
    number = written.decode("ascii", "replace")
    if not (_NUMBER.fullmatch(text) and _NUMBER.fullmatch(number)):
        return False
    return Decimal(text) == Decimal(number)
