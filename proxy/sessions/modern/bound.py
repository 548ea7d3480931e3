"""What does a client get in the place of what only its child can use?

States and tasks of a child are good for whoever has them. Here they are bound to the client that they were given to.
"""

import msgspec
from msgspec import Raw

from proxy.protocol.answers import questions_of
from proxy.protocol.envelope import MODERN_VERSIONS, RETRIED_METHODS
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_members
from proxy.protocol.messages import Response
from proxy.sessions.modern.call import ModernCall
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.continuations import Continuations
from proxy.sessions.modern.tasks import Tasks


def bind_answer(
    call: ModernCall, response: Response, *, continuations: Continuations[SharedChild], tasks: Tasks[SharedChild]
) -> Response:
    """The result of a child, as its client gets it.

    Raises:
        TooManyContinuations: If it asks for input and too many wait already; the child is told that nobody will answer.
        AnswerUnusable: If it can't be bound.
    """
    result, method = response.members["result"], call.request.method
    if method == "server/discover":
        members = as_object(result)
        if members is not None:
            return _with_result(response, _offered(members, shares=call.principal.group is not None))
    elif method in RETRIED_METHODS and _may_be_bound(bytes(result)):
        members = as_object(result) or {}
        kind, task_id = text_at(members, "resultType"), text_at(members, "taskId")
        if kind == "input_required":
            return _bind_state(call, response, members, continuations)
        if kind == "task" and task_id is not None:
            is_strangers = call.principal.group is None
            given = tasks.add(task_id, principal=call.principal.name, child=call.child, is_strangers=is_strangers)
            call.child.holds += 1
            return _with_task_id(response, members, given)
    elif call.task is not None and call.task.task_id != call.task.inner_id:
        members = as_object(result) or {}
        if text_at(members, "taskId") == call.task.inner_id:
            return _with_task_id(response, members, call.task.task_id)
    return response


def _may_be_bound(result: bytes) -> bool:
    """Seen without a parse: most results are neither, and some are large."""
    return b'"input_required"' in result or b'"task"' in result


def _bind_state(
    call: ModernCall, response: Response, result: Members, continuations: Continuations[SharedChild]
) -> Response:
    child = call.child
    inner = result["requestState"].copy() if "requestState" in result else None  # not the whole result with it
    if inner is None and child.group is not None and child.translator is None:
        return response  # it needs neither this process nor a memory
    try:
        continuation = continuations.add(
            call.request, principal=call.principal.name, asked=questions_of(result), inner=inner, child=child
        )
    except Exception:
        child.abandon(inner)
        raise
    child.holds += 1
    return _with_result(response, {**result, "requestState": Raw(encode(continuation.state))})


def _offered(result: Members, *, shares: bool) -> Members:
    """What the child speaks, as far as it is spoken here; and nothing that a process for each call can't keep."""
    if "supportedVersions" in result:
        try:
            versions = msgspec.json.decode(bytes(result["supportedVersions"]))
        except msgspec.DecodeError:
            versions = []
        both = [each for each in versions if each in MODERN_VERSIONS] if isinstance(versions, list) else []
        result = {**result, "supportedVersions": Raw(encode(both or list(MODERN_VERSIONS)))}
    if shares or not bytes(result.get("capabilities", Raw(b""))).startswith(b"{"):
        return result
    capabilities = parse_members(bytes(result["capabilities"]))
    for name, raw in capabilities.items():
        if bytes(raw).startswith(b"{"):
            members = {
                key: Raw(b"false") if key in ("listChanged", "subscribe") else value
                for key, value in parse_members(bytes(raw)).items()
            }
            capabilities[name] = Raw(encode(members))
    return {**result, "capabilities": Raw(encode(capabilities))}


def _with_task_id(response: Response, result: Members, task_id: str) -> Response:
    if text_at(result, "taskId") == task_id:
        return response
    return _with_result(response, {**result, "taskId": Raw(encode(task_id))})


def _with_result(response: Response, result: Members) -> Response:
    return Response(response.id, {**response.members, "result": Raw(encode(result))})
