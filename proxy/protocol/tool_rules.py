"""Which tools of a server are there for clients?

Names and patterns as in a shell: `*` is any text, `?` any character, `[abc]` one of these. Upper and lower case differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, TooDeep
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import as_object, encode, parse_array
from proxy.protocol.messages import Request, Response

LIST, CALL = "tools/list", "tools/call"
SHOWN_LETTERS = 200
"""How much of the name of a tool that is not there its client is told."""


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What an operator lets clients see and call.

    Attributes:
        allowed: Patterns of the tools that are there; empty for all.
        denied: Patterns of those that are not, allowed or not.
    """

    allowed: Sequence[str] = ()
    denied: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.allowed or self.denied)

    def permits(self, name: str) -> bool:
        """Whether a tool of this name is there."""
        is_allowed = not self.allowed or any(fnmatchcase(name, pattern) for pattern in self.allowed)
        return is_allowed and not any(fnmatchcase(name, pattern) for pattern in self.denied)

    def refusal(self, request: Request) -> str | None:
        """What to say to a request for a tool that is not there; None to any other.

        A call without a proper name is refused, too: a server may find one by position, or make a text of a list.
        """
        if request.method != CALL:
            return None
        params = request.envelope[0] if request.envelope is not None else as_object(request.members.get("params"))
        name = text_at(params or {}, "name")
        others = [key for key in params or {} if key.casefold() == "name" and key != "name"]
        if name is None or others:  # some servers read names in any case
            return "Invalid params: name"
        return None if self.permits(name) else f"Unknown tool: {name[:SHOWN_LETTERS]}"

    def listed(self, response: Response) -> Response:
        """The answer to a `tools/list` with those tools alone that are there; all else, `nextCursor` too, untouched."""
        result = as_object(response.members.get("result"))
        try:
            tools = parse_array(bytes(result["tools"])) if result is not None and "tools" in result else []
        except (NotJson, NotJsonRpc, TooDeep):
            return response  # no list at all; its client will say so
        kept = [tool for tool in tools if self._is_shown(tool)]
        if result is None or len(kept) == len(tools):
            return response
        left = {**result, "tools": Raw(b"[" + b",".join(kept) + b"]")}
        return Response(response.id, {**response.members, "result": Raw(encode(left))})

    def _is_shown(self, tool: bytes) -> bool:
        name = text_at(as_object(Raw(tool)) or {}, "name")
        return name is not None and self.permits(name)
