"""The examples run as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.daemon import running_daemon

ROOT = Path(__file__).parent.parent
HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@contextmanager
def served_by_uvicorn(app: str) -> Iterator[str]:
    """Run an application as its docstring says; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", app, "--port", "0"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"running on (http://\S+)", line)
            if found:
                yield found[1]
                break
        else:
            raise AssertionError("uvicorn did not start")
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("app", "prefixes"),
    [("examples.embed_starlette:app", ["/tools"]), ("examples.embed_fastapi:app", ["/demo", "/short"])],
)
def test_a_host_serves_its_own_routes_and_the_bridges(app: str, prefixes: list[str]) -> None:
    with served_by_uvicorn(app) as url, httpx.Client(base_url=url, timeout=20) as http:
        assert http.get("/").status_code == 200
        for prefix in prefixes:
            answer = http.post(f"{prefix}/mcp", json=HELLO, headers=ACCEPT)
            assert answer.json()["result"]["serverInfo"]["name"] == "mcp-proxy-demo"
            assert http.get(f"{prefix}/health").json()["sessions"] == 1
            ended = http.delete(f"{prefix}/mcp", headers={"mcp-session-id": answer.headers["mcp-session-id"]})
            assert ended.status_code == 200


def test_a_host_serves_several_servers_of_a_file_and_of_its_own() -> None:
    with served_by_uvicorn("examples.embed_several:app") as url, httpx.Client(base_url=url, timeout=20) as http:
        listed = http.get("/mcp/servers").json()["servers"]
        assert [each["name"] for each in listed] == ["more", "demo"]
        for path in ("/mcp/mcp", *(f"/mcp{each['path']}" for each in listed)):
            answer = http.post(path, json=HELLO, headers=ACCEPT)
            assert answer.json()["result"]["serverInfo"]["name"] == "mcp-proxy-demo"
        assert http.post("/mcp/servers/fetch/mcp", json=HELLO, headers=ACCEPT).status_code == 404


def test_the_client_talks_to_the_demo() -> None:
    with running_daemon("--demo") as daemon:
        done = subprocess.run(
            [sys.executable, "examples/client.py", daemon.url], cwd=ROOT, capture_output=True, text=True, timeout=60
        )

    assert done.returncode == 0, done.stderr
    assert "echo" in done.stdout
    assert "hello" in done.stdout


def test_the_sidecar_is_told_everything_by_variables_that_the_daemon_knows() -> None:
    service = yaml.safe_load((ROOT / "examples/compose.yaml").read_text())["services"]["fetch"]
    environment = {**service["environment"], "SERVER_COMMAND": f"{sys.executable} -m proxy.demo", "MCP_PORT": "0"}

    with running_daemon_by(environment) as url:
        base = url.removesuffix("/mcp")
        assert httpx.post(f"{base}/servers/fetch/mcp", json=HELLO, headers=ACCEPT, timeout=20).status_code == 200
        # The health check of the container, with the port of this test.
        check = service["healthcheck"]["test"]
        assert check[:2] == ["CMD", "python"]
        code = check[3].replace("http://127.0.0.1:3000", base)
        assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 0


@contextmanager
def running_daemon_by(environment: dict[str, str]) -> Iterator[str]:
    """A daemon that gets variables and not one argument."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy"], stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stderr is not None
    try:
        url = next(found[1] for line in process.stderr if (found := re.search(r"serving.*?(http://\S+)", line)))
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_what_the_image_copies_is_there_and_what_it_starts_exists() -> None:
    """No engine builds it here; its steps are those that the wheel test runs, in the same order."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY") for source in line.split()[1:-1]]

    assert copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert 'ENTRYPOINT ["tini", "--", "mcp-proxy"]' in lines
    assert any(line.startswith("USER ") for line in lines)
