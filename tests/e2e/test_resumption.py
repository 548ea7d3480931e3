"""Is a client left coming back for ever? What it finds when it does is tested in tests/faults/test_away.py."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.serving import serving

NODE = Path(__file__).parent.parent / "interop" / "node"
AT_ONCE = ("--commit-after", "0.01s")


RECONNECTS = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
const seen = [];
const counted = (url, init) => { seen.push(init?.method ?? "GET"); return fetch(url, init); };
const client = new Client({ name: "t", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2]), { fetch: counted }));
const call = (name, args) => client.callTool({ name, arguments: args }).then(() => "result", () => "error");
console.log(await call("sleep", { seconds: 0.1 }));
const log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\\n';
const failure = '{"jsonrpc":"2.0","id":$ID,"error":{"code":-1,"message":"no"}}\\n';
console.log(await call("write", { latin1: log + failure }));
const before = seen.length;
await new Promise((done) => setTimeout(done, Number(process.argv[3])));
console.log(seen.length - before);
await client.close();
"""


@pytest.mark.interop
def test_the_typescript_client_is_not_left_coming_back_for_ever(tmp_path: Path) -> None:
    """After a stream's end with a result, and with an error: at most one look whether there is more."""
    assert (NODE / "node_modules").is_dir(), "run: make interop-setup"
    script = tmp_path / "reconnects.mjs"
    script.write_text(RECONNECTS)
    (tmp_path / "node_modules").symlink_to((NODE / "node_modules").resolve())

    with serving(*AT_ONCE) as daemon:
        done = subprocess.run(
            ["node", str(script), daemon.url, "6000"], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    result, error, requests = done.stdout.split()
    assert (result, error) == ("result", "error"), done.stderr
    assert int(requests) <= 1
