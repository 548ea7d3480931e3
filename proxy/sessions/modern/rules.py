"""What do a child's tools want repeated in headers?

stdio has no headers, so the child can't check them; whoever turns HTTP into stdio must.

Spec: 2026-07-28 basic/transports/streamable-http, Custom Headers: any server that processes the body checks them.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from proxy.errors import HeaderMismatch, NotJson, NotJsonRpc
from proxy.protocol.envelope import ModernRequest
from proxy.protocol.headers import PARAM_PREFIX, HeaderRule, check_arguments, rules_of_listing
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import parse_members
from proxy.protocol.messages import Response
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.opening import ask, own_request

FRESH_SECONDS = 60.0
"""How long a listing is believed. Ours: a stale one refuses nobody, as it is read again before a call is refused."""
MAX_PAGES = 100
ANSWER_SECONDS = 10.0


def wants_rules(headers: Mapping[bytes, bytes], request: ModernRequest) -> bool:
    """Whether it must be known what a tool wants: a call without arguments and without such headers can't be wrong."""
    if request.method != "tools/call":
        return False
    arguments = request.params.get("arguments")
    has_arguments = arguments is not None and bytes(arguments) not in (b"{}", b"null")
    return has_arguments or any(name.startswith(PARAM_PREFIX) for name in headers)


def are_known(child: SharedChild, now: float) -> bool:
    """Whether the child was asked lately."""
    return child.rules is not None and now - child.rules_at < FRESH_SECONDS


async def check_call(child: SharedChild, headers: Mapping[bytes, bytes], request: ModernRequest, now: float) -> None:
    """Hold the custom headers of a tool call against its arguments.

    Waits for the child's list of tools if it is not known. A child that gives none is let have its way.

    Raises:
        HeaderMismatch: If they differ.
    """
    was_known = are_known(child, now)
    if not was_known:
        await _learn_once(child, request, now)
    try:
        check_known(child, headers, request)
    except HeaderMismatch:
        if not was_known:
            raise
        await _learn_once(child, request, now)
        check_known(child, headers, request)


def check_known(child: SharedChild, headers: Mapping[bytes, bytes], request: ModernRequest) -> None:
    """As `check_call`, by what is known; raises HeaderMismatch."""
    rules = child.rules.get(request.text("name") or "") if child.rules else None
    if rules:
        check_arguments(headers, rules, request.params.get("arguments"))


async def _learn_once(child: SharedChild, request: ModernRequest, now: float) -> None:
    """Ask the child, once for all who want to know at the same time."""
    before = child.rules_at
    async with child.rules_lock:
        if child.rules_at == before:
            await _learn(child, request, now)


async def _learn(child: SharedChild, request: ModernRequest, now: float) -> None:
    rules: dict[str, tuple[HeaderRule, ...]] = {}
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        listing = own_request("tools/list", params, capabilities=request.capabilities)
        answer = await ask(child, listing, seconds=ANSWER_SECONDS)
        if not isinstance(answer, Response) or answer.is_error:
            break
        result = answer.members["result"]
        rules.update(rules_of_listing(result))
        cursor = _next(result)
        if cursor is None or cursor in seen:
            break
        seen.add(cursor)
    child.rules, child.rules_at = rules, now


def _next(result: Raw) -> str | None:
    try:
        return text_at(parse_members(bytes(result)), "nextCursor")
    except (NotJson, NotJsonRpc):
        return None
