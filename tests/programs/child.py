"""One stdio MCP server that does everything a server can do, wrong things included.

Started as `python -I -S tests/programs/child.py [mode...]`; standard library only, ready in milliseconds. The modes
say how it starts; what it does later is chosen call by call, by the name of the tool.

Modes:
    exit=CODE                 exit at once
    stderr=TEXT               write a line to stderr at once
    ignore-sigterm            from the beginning
    grandchild                fork a process that stays in the group and holds the pipes
    stray                     fork one that leaves the group
    exit-on-initialize=CODE   read `initialize`, then exit
    mute                      never answer `initialize`
    late=SECONDS              answer `initialize` later; other messages are read meanwhile
    initialize-error          answer `initialize` with an error
    agree=VERSION             answer `initialize` with this revision, whatever was asked for
    early=LINE                write this line before the answer to `initialize`
    first=LINE                this line has been read already
    watchable                 offer subscriptions, and answer them and `logging/setLevel`
    more=FILE                 a file with more modes, one a line; read at the start if it is there
    list-says=LINE            write this line before the answer to `tools/list`

The modes that are about `initialize` may also stand in its `_meta`, under `modes`: one session then has a bad start.

Tools (`tools/call`; arguments in brackets, `?` marks those that may be left out):
    echo [anything]           the arguments
    hold [key?, say?, late_answer?]   no answer until `release` [key?] of the same key, `say` is written at once;
                              cancelled: none, or a late one
    sleep [seconds]           answer later
    progress [count]          `count` notifications for the call's token, in one write, then the answer
    ask [id, method, params?, cancel?]   a request of the server's own; the answer is the line that came back.
                              With `cancel`, the request is taken back at once and the call answered.
    write [text | latin1, fill?, times?, last?, cuts?, seconds?]   these bytes as they are, so many times, then the
                              `last`; `seconds` later. `$ID` is the call's id, `$FILL` that many letters, `cuts` are the
                              sizes of the first writes. Not answered by itself.
    blob [size]               a text of that size
    seen [part]               every line read so far (with this in it), each byte one character
    env, pid                  the environment; process id, parent, group
    exit [code?, say?]        exit without an answer; `say` is written before
    exit-after [code?]        answer, then exit
    stderr [bytes, line?]     that much on stderr, in lines so long, then the answer
    stop-reading              answer, then read nothing any more, for ever
    close-stdout, close-stdin answer, then close it and live on
    ignore-sigterm            answer, and live on until SIGKILL, even without stdin
    fork [count, stubborn?, stray?]   processes that hold the pipes; their ids. `stubborn` ones ignore SIGTERM, `stray`
                              ones have left the group.

Other requests: `ping`, `tools/list`, `logging/setLevel`, `resources/subscribe`, `resources/unsubscribe`; the rest is
-32601. Notifications are read and kept for `seen`.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
READ_BYTES = 1 << 18


class Child:
    """The process; one thread, which waits for input or for the next thing to be due."""

    def __init__(self, modes: dict[str, str]) -> None:
        self.modes = modes
        self.seen: list[bytes] = []
        self.held: dict[Any, dict[str, Any]] = {}  # call id -> arguments
        self.asked: dict[Any, Any] = {}  # id of a request of ours -> id of the call that waits
        self.due: list[tuple[float, bytes]] = []
        self.is_stubborn = False
        self.rest: list[bytes] = []  # of a line that has not ended

    def begin(self) -> None:
        """Do what the modes say, before anything is read."""
        if os.path.exists(self.modes.get("more", "")):
            with open(self.modes["more"], encoding="utf-8") as file:
                words = (line.partition("=") for line in file.read().split())
                self.modes.update({name: value for name, _, value in words})
        if "stderr" in self.modes:
            os.write(2, self.modes["stderr"].encode() + b"\n")
        if "exit" in self.modes:
            leave(int(self.modes["exit"] or 0))
        if "ignore-sigterm" in self.modes:
            self.ignore_sigterm()
        self.fork_as_told()
        if "first" in self.modes:
            self.take(self.modes["first"].encode())

    def fork_as_told(self) -> None:
        """Start the processes that the modes name."""
        if "grandchild" in self.modes:
            fork()
        if "stray" in self.modes:
            fork(is_stray=True)

    def serve(self) -> None:
        """Read and answer until stdin ends."""
        while True:
            now = time.monotonic()
            for moment, line in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove((moment, line))
                write(line)
            wait = max(0.0, min(moment for moment, _ in self.due) - now) if self.due else None
            readable, _, _ = select.select([0], [], [], wait)
            if not readable:
                continue
            data = os.read(0, READ_BYTES)
            if not data:
                break
            first, *others = data.split(b"\n")
            self.rest.append(first)
            for other in others:
                line, self.rest = b"".join(self.rest), [other]
                self.take(line)
        while self.is_stubborn:
            signal.pause()

    def take(self, line: bytes) -> None:
        """Take one line."""
        self.seen.append(line)
        message = json.loads(line)
        if not isinstance(message, dict):
            return
        method, id_, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method is None:
            if id_ in self.asked:
                self.result(self.asked.pop(id_), {"answer": line.decode("latin-1")})
        elif id_ is None:
            if method == "notifications/cancelled":
                arguments = self.held.pop(params.get("requestId"), {})
                if arguments.get("late_answer"):
                    self.result(params["requestId"], {"late": True})
        elif method == "initialize":
            self.initialize(id_, params)
        elif method == "tools/call":
            self.call(id_, params)
        elif method in ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
            self.result(id_, {})
        elif (
            method in ("resources/subscribe", "resources/unsubscribe", "logging/setLevel") and "watchable" in self.modes
        ):
            self.result(id_, {})
        elif method == "tools/list":
            write(self.modes["list-says"].encode() + b"\n" if "list-says" in self.modes else b"")
            self.result(id_, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
        else:
            send({"jsonrpc": "2.0", "id": id_, "error": {"code": -32601, "message": "Method not found"}})

    def initialize(self, id_: Any, params: dict[str, Any]) -> None:
        """Shake hands, or not."""
        if "_meta" in params:
            self.modes.update(params["_meta"].get("modes", {}))
            self.fork_as_told()
        if "exit-on-initialize" in self.modes:
            leave(int(self.modes["exit-on-initialize"] or 0))
        if "early" in self.modes:
            write(self.modes["early"].encode() + b"\n")
        if "mute" in self.modes:
            return
        if "initialize-error" in self.modes:
            send({"jsonrpc": "2.0", "id": id_, "error": {"code": -32000, "message": "not today"}})
            return
        asked = params.get("protocolVersion")
        version = self.modes.get("agree") or (asked if asked in VERSIONS else VERSIONS[-1])
        watchable = {"resources": {"subscribe": True}} if "watchable" in self.modes else {}
        answer = {
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": True}, "logging": {}, **watchable},
            "serverInfo": {"name": "child", "version": "1"},
        }
        line = encode({"jsonrpc": "2.0", "id": id_, "result": answer})
        if "late" in self.modes:
            self.due.append((time.monotonic() + float(self.modes["late"]), line))
        else:
            write(line)

    def call(self, id_: Any, params: dict[str, Any]) -> None:
        """Do what the tool of this name does."""
        name, arguments = params["name"], params.get("arguments") or {}
        if name == "echo":
            self.result(id_, {"echo": arguments})
        elif name == "hold":
            self.held[id_] = arguments
            write(arguments.get("say", "").encode())
        elif name == "release":
            for held in [held for held, with_ in self.held.items() if with_.get("key") == arguments.get("key")]:
                del self.held[held]
                self.result(held, {"released": True})
            self.result(id_, {})
        elif name == "sleep":
            line = encode({"jsonrpc": "2.0", "id": id_, "result": {"slept": True}})
            self.due.append((time.monotonic() + arguments["seconds"], line))
        elif name == "progress":
            token = params.get("_meta", {}).get("progressToken")
            steps = ({"progressToken": token, "progress": step} for step in range(arguments["count"]))
            write(b"".join([encode(notification("notifications/progress", params)) for params in steps]))
            self.result(id_, {"count": arguments["count"]})
        elif name == "ask":
            self.ask(id_, arguments)
        elif name == "write":
            self.write_raw(id_, arguments)
        elif name == "blob":
            self.result(id_, {"blob": "x" * arguments["size"]})
        elif name == "seen":
            part = arguments.get("part", "").encode()
            self.result(id_, {"lines": [line.decode("latin-1") for line in self.seen if part in line]})
        elif name == "env":
            self.result(id_, {"env": dict(os.environ)})
        elif name == "pid":
            self.result(id_, {"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgrp()})
        elif name == "stderr":
            line = b"x" * (arguments.get("line", 100) - 1) + b"\n"
            write(line * (arguments["bytes"] // len(line)), 2)
            self.result(id_, {})
        elif name == "fork":
            kind = {"is_stubborn": bool(arguments.get("stubborn")), "is_stray": bool(arguments.get("stray"))}
            self.result(id_, {"pids": [fork(**kind) for _ in range(arguments["count"])]})
        elif name == "exit":
            write(arguments.get("say", "").encode().replace(b"$ID", json.dumps(id_).encode()))
            leave(arguments.get("code", 0))
        else:
            self.answer_first(id_, name, arguments)

    def answer_first(self, id_: Any, name: str, arguments: dict[str, Any]) -> None:
        """The tools that end, or half end, the conversation."""
        if name == "ignore-sigterm":
            self.ignore_sigterm()
        elif name not in ("exit-after", "stop-reading", "close-stdout", "close-stdin"):
            send({"jsonrpc": "2.0", "id": id_, "error": {"code": -32602, "message": f"no tool {name}"}})
            return
        self.result(id_, {"pid": os.getpid()})
        if name == "exit-after":
            leave(arguments.get("code", 0))
        elif name == "stop-reading":
            while True:
                signal.pause()
        elif name == "close-stdout":
            os.close(1)
        elif name == "close-stdin":
            os.close(0)
            while True:
                signal.pause()

    def write_raw(self, call_id: Any, arguments: dict[str, Any]) -> None:
        """Write what the client says, messages or not."""
        fill = b"x" * arguments.get("fill", 0)
        latin1, last = arguments.get("latin1"), arguments.get("last", "")
        texts = (arguments["text"].encode() if latin1 is None else latin1.encode("latin-1"), last.encode())
        data, end = (text.replace(b"$ID", json.dumps(call_id).encode()).replace(b"$FILL", fill) for text in texts)
        data = data * arguments.get("times", 1) + end
        if "seconds" in arguments:
            self.due.append((time.monotonic() + arguments["seconds"], data))
            return
        for size in arguments.get("cuts", ()):
            write(data[:size])
            data = data[size:]
            time.sleep(0.001)  # so that each is a read of its own
        write(data)

    def ask(self, call_id: Any, arguments: dict[str, Any]) -> None:
        """Send a request of our own."""
        request = {"jsonrpc": "2.0", "id": arguments["id"], "method": arguments["method"]}
        if "params" in arguments:
            request["params"] = arguments["params"]
        send(request)
        if arguments.get("cancel"):
            params = {"requestId": arguments["id"], "reason": "changed my mind"}
            send(notification("notifications/cancelled", params))
            self.result(call_id, {})
        else:
            self.asked[arguments["id"]] = call_id

    def ignore_sigterm(self) -> None:
        """Live on until SIGKILL."""
        self.is_stubborn = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def result(self, id_: Any, result: dict[str, Any]) -> None:
        """Answer a call."""
        send({"jsonrpc": "2.0", "id": id_, "result": result})


def fork(*, is_stubborn: bool = False, is_stray: bool = False) -> int:
    """Start a process that holds our pipes; returns its id once its signals and its group are set."""
    ready, is_ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(is_ready)
        os.read(ready, 1)
        os.close(ready)
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_IGN if is_stubborn else signal.SIG_DFL)
    if is_stray:
        os.setsid()
    os.write(is_ready, b"1")
    os.close(is_ready)
    os.close(ready)
    while True:
        signal.pause()


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """A message nobody answers."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def encode(message: dict[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def send(message: dict[str, Any]) -> None:
    """Write a message as a line."""
    write(encode(message))


def write(data: bytes, fd: int = 1) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def leave(code: int) -> NoReturn:
    """Exit at once: nothing is flushed, nobody is told."""
    os._exit(code)


if __name__ == "__main__":
    words = (word.partition("=") for word in sys.argv[1:])
    child = Child({name: value for name, _, value in words})
    child.begin()
    child.serve()
