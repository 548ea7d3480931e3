"""What does each method answer?

Spec: 2025-11-25 basic/lifecycle, server/*; what earlier revisions do otherwise is said where it is done.
"""

from functools import partial
from typing import Any

from proxy.demo.asking import ASKING_TOOLS
from proxy.demo.content import PROMPTS, TEMPLATES, complete, fill_prompt
from proxy.demo.messages import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Json, RpcError
from proxy.demo.rpc import Call, Outcome, Peer
from proxy.demo.schema import find_fault
from proxy.demo.session import LOG_LEVELS, REVISIONS, Session
from proxy.demo.tools import TOOLS, Tool, Use, failure
from proxy.demo.wire import LineWriter
from proxy.version import __version__

INSTRUCTIONS = "A server to try things with. Read demo://readme for what it offers."


class DemoServer:
    """Serves one client. `receive` is called from one thread; calls that wait have their own."""

    def __init__(self, writer: LineWriter) -> None:
        self._session = Session()
        self._peer = Peer(writer.write_line, self._serve, self._notice)
        self._tools: dict[str, Tool] = {tool.definition["name"]: tool for tool in (*TOOLS, *ASKING_TOOLS)}
        self._methods = {
            "ping": self._ping,
            "initialize": self._initialize,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
            "completion/complete": self._complete,
            "logging/setLevel": self._set_level,
        }

    def receive(self, line: bytes) -> None:
        """Act on one line of the client. Raises: ClientGone: If an answer cannot be written."""
        self._peer.receive(line)

    def _serve(self, call: Call) -> Outcome:
        method = self._methods.get(call.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"method not found: {call.method}")
        # Ours: the specification names no code for this one.
        if not self._session.revision and call.method not in ("ping", "initialize"):
            raise RpcError(INVALID_REQUEST, "the session is not initialized")
        if not isinstance(call.params.get("_meta", {}), dict):
            raise RpcError(INVALID_PARAMS, "_meta must be an object")
        return method(call)

    def _notice(self, method: str) -> None:
        # The others change nothing here: roots are asked for anew each time, and we ask for no progress.
        if method == "notifications/initialized" and self._session.revision:
            self._session.is_ready = True

    def _ping(self, call: Call) -> Json:
        return {}

    def _initialize(self, call: Call) -> Json:
        """Spec: 2025-11-25 basic/lifecycle, Initialization, Version Negotiation."""
        if self._session.revision:
            raise RpcError(INVALID_REQUEST, "the session is initialized already")
        requested = _take(call.params, "protocolVersion", str)
        capabilities = _take(call.params, "capabilities", dict)
        _take(call.params, "clientInfo", dict)
        revision = requested if requested in REVISIONS else REVISIONS[-1]
        self._session.revision = revision
        self._session.client_capabilities = capabilities
        # 2025-03-26 basic, Batching: it came with that revision and left with the next.
        self._peer.accepts_batches = revision == "2025-03-26"
        offered: Json = {
            "logging": {},
            "prompts": {},
            "resources": {"subscribe": True, "listChanged": True},
            "tools": {},
        }
        if revision >= "2025-03-26":
            offered["completions"] = {}
        info = self._session.trim({"name": "mcp-proxy-demo", "title": "Demo server", "version": __version__})
        if revision >= "2025-11-25":
            info["description"] = "Shows everything a client can do"
        return {
            "protocolVersion": revision,
            "capabilities": offered,
            "serverInfo": info,
            "instructions": INSTRUCTIONS,
        }

    def _list_tools(self, call: Call) -> Json:
        definitions = [tool.definition for tool in self._tools.values()]
        return self._session.page("tools", definitions, call.params)

    def _call_tool(self, call: Call) -> Outcome:
        """Spec: 2025-11-25 server/tools, Calling Tools, Error Handling."""
        name = _take(call.params, "name", str)
        tool = self._tools.get(name)
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"unknown tool: {name}")
        arguments = _take(call.params, "arguments", dict, {})
        if fault := find_fault(arguments, tool.definition["inputSchema"]):
            # Since 2025-11-25 a wrong argument is for the model to see; before, it was a protocol error.
            if self._session.revision >= "2025-11-25":
                return failure(fault)
            raise RpcError(INVALID_PARAMS, fault)
        use = Use(self._session, call, arguments, self._peer.notify)
        rest = partial(self._run_tool, tool, use)
        return rest if tool.waits else rest()

    def _run_tool(self, tool: Tool, use: Use) -> Json:
        return self._session.trim(tool.run(use))

    def _list_resources(self, call: Call) -> Json:
        return self._session.page("resources", self._session.library.list_resources(), call.params)

    def _list_templates(self, call: Call) -> Json:
        return self._session.page("resourceTemplates", TEMPLATES, call.params)

    def _read_resource(self, call: Call) -> Json:
        return {"contents": [self._session.library.read(_take(call.params, "uri", str))]}

    def _subscribe(self, call: Call) -> Json:
        uri = _take(call.params, "uri", str)
        self._session.library.read(uri)  # Raises if there is no such resource.
        self._session.subscriptions.add(uri)
        return {}

    def _unsubscribe(self, call: Call) -> Json:
        self._session.subscriptions.discard(_take(call.params, "uri", str))
        return {}

    def _list_prompts(self, call: Call) -> Json:
        return self._session.page("prompts", PROMPTS, call.params)

    def _get_prompt(self, call: Call) -> Json:
        arguments = _take(call.params, "arguments", dict, {})
        return fill_prompt(_take(call.params, "name", str), arguments, self._session.library)

    def _complete(self, call: Call) -> Json:
        argument = _take(call.params, "argument", dict)
        context = _take(call.params, "context", dict, {})  # Since 2025-06-18.
        return {
            "completion": complete(
                _take(call.params, "ref", dict),
                _take(argument, "name", str),
                _take(argument, "value", str),
                _take(context, "arguments", dict, {}),
            )
        }

    def _set_level(self, call: Call) -> Json:
        """Spec: 2025-11-25 server/utilities/logging, Error Handling: -32602 for an invalid level."""
        level = _take(call.params, "level", str)
        if level not in LOG_LEVELS:
            raise RpcError(INVALID_PARAMS, "level must be one of " + ", ".join(LOG_LEVELS))
        self._session.log_level = level
        return {}


def _take(params: Json, key: str, kind: type, default: Any = None) -> Any:
    """Give a member of params. Raises: RpcError: If it is missing without a default, or of another kind."""
    value = params.get(key, default)
    if not isinstance(value, kind):
        raise RpcError(INVALID_PARAMS, f"{key} must be there and be {'a string' if kind is str else 'an object'}")
    return value
