"""What may this client listen to?

Spec: 2026-07-28 basic/patterns/subscriptions; extension io.modelcontextprotocol/tasks (SEP-2663), Notifications.
"""

import json
from collections.abc import Callable

from msgspec import Raw

from proxy.protocol.client_messages import refuse_lookalikes
from proxy.protocol.envelope import ModernRequest
from proxy.protocol.jsontext import as_object, encode

_TASK_IDS = "taskIds"


def with_own_tasks(request: ModernRequest, is_own: Callable[[str], bool]) -> Raw | None:
    """What a client asks to be told of, without the tasks that are not its own: a child can't tell clients apart.

    Returns None if it asks for no tasks; then a child gets what it asks for as it was written.

    Args:
        request: `subscriptions/listen`.
        is_own: Whether its client may be told of this task.

    Raises:
        NotJsonRpc: If the member with the tasks stands there in another case: a child could read it.
    """
    asked = as_object(request.params.get("notifications"))
    if asked is None:
        return None  # a child refuses it
    refuse_lookalikes(asked, {_TASK_IDS.casefold(): _TASK_IDS})
    raw = asked.pop(_TASK_IDS, None)
    if raw is None:
        return None
    task_ids = json.loads(bytes(raw))  # not msgspec: one may hold an escaped lone surrogate
    own = [each for each in task_ids if isinstance(each, str) and is_own(each)] if isinstance(task_ids, list) else []
    if own:
        asked[_TASK_IDS] = Raw(json.dumps(own).encode())
    return Raw(encode(asked))
