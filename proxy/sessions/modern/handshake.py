"""How does a process that speaks a handshake revision become one that serves clients without sessions?"""

import asyncio

import anyio

from proxy.errors import ChildStartFailed, ChildStartTimedOut
from proxy.observe import Counts
from proxy.protocol.envelope import CLIENT_INFO_KEY, ModernRequest
from proxy.protocol.jsontext import parse_members
from proxy.sessions.modern.as_modern import AsModern
from proxy.sessions.modern.as_modern_port import AsModernLimits
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.opening import UNSUPPORTED_VERSION


async def shake_hands(
    child: SharedChild, capabilities: bytes, request: ModernRequest, *, limits: ModernLimits, counts: Counts
) -> bool:
    """Put a translator in front of the process and let it shake hands.

    Returns whether the process refused because it speaks no handshake revision at all.

    Raises:
        ChildStartFailed: If it refused for another reason, or exited.
        ChildStartTimedOut: If it did not answer within `start_timeout_seconds`.
    """
    settled = anyio.Event()
    refusal: list[int] = []

    def refused(code: int, _message: str, _revisions: list[str]) -> None:
        refusal.append(code)
        settled.set()

    translator = AsModern(
        capabilities=parse_members(capabilities),
        client_info=request.meta.get(CLIENT_INFO_KEY),
        on_lines=child.mux.received,
        on_ready=settled.set,
        on_refused=refused,
        on_free=child.release,
        on_stuck=lambda: child.end("stuck after a cancellation", ChildStartFailed()),
        clock=asyncio.get_running_loop().time,
        later=asyncio.get_running_loop().call_later,
        minter=child.mux.minter,
        counts=counts,
        tag=child.tag,
        limits=AsModernLimits(
            roots_wait_seconds=limits.server_request_timeout_seconds, reply_backlog_bytes=limits.stream_backlog_bytes
        ),
    )
    child.takes_turns = translator.takes_turns
    child.translate(translator)
    with anyio.move_on_after(limits.start_timeout_seconds) as waited:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await child.ended.wait()
                settled.set()

            tasks.start_soon(watch)
            await settled.wait()
            tasks.cancel_scope.cancel()
    if waited.cancelled_caught:
        raise ChildStartTimedOut
    if child.has_ended:
        raise ChildStartFailed
    if refusal and refusal[0] != UNSUPPORTED_VERSION:
        raise ChildStartFailed
    return bool(refusal)
