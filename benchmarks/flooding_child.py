"""A stdio server that shakes hands and then writes as fast as it can: progress of a call that nobody has made.

Run with `python -I -S`. It answers nothing else, and ends with its stdin, or when nobody is left to read.
"""

import json
import os
import select

READ_BYTES = 1 << 16
LINES = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"nobody","progress":1}}\n' * 500


def main() -> None:
    """Answer `initialize`, then flood."""
    is_flooding = False
    while True:
        readable, _, _ = select.select([0], [], [], 0 if is_flooding else None)
        if readable:
            data = os.read(0, READ_BYTES)
            if not data:
                return
            for line in data.splitlines():
                hello(line)
            is_flooding = True
        try:
            os.write(1, LINES)
        except BrokenPipeError:
            return


def hello(line: bytes) -> None:
    """Answer an `initialize`."""
    message = json.loads(line)
    if message.get("method") == "initialize":
        info = {"name": "flooding-child", "version": "1"}
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {}, "serverInfo": info}
        os.write(1, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n")


if __name__ == "__main__":
    main()
