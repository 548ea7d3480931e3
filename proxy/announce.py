"""What is the operator told at the start?"""

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence

from proxy.child.death import has_pidfds
from proxy.child.spec import ProgramNotFound, find_program
from proxy.edge.bridge import Bridge
from proxy.edge.directory import Directory, path_of
from proxy.edge.middleware.origin import is_loopback_name

logger = logging.getLogger(__name__)


def announce(bridge: Bridge, addresses: Sequence[tuple[str, int]]) -> None:
    """Say what is served, where, and what an operator should know of it.

    Args:
        bridge: What is served.
        addresses: Where we listen: host and port.
    """
    settings, directory = bridge.settings, bridge.directory
    for warning in bridge.warnings:
        logger.warning("%s", warning)
    warn_of_missing_programs(directory)
    roots = [f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port in addresses]
    if sys.platform != "linux":
        logger.warning("not Linux: deaths of children are found by polling, vanished clients later")
    elif not has_pidfds():
        logger.warning("no pidfds, as in some sandboxes: deaths of children are found by polling")
    if not all(is_loopback_name(host) for host, _ in addresses):
        logger.warning("listening without authentication: whoever reaches this address can use the server")
    if any(server.gives_each_request_a_process for server in directory.servers.values()):
        logger.info(
            "clients of 2026-07-28 get a process for each request; with --modern-isolation shared they share one, "
            "which is warm and keeps its state"
        )
    for name, server in directory.servers.items():
        for limit, means in server.spec.limits.report().items():
            logger.info("limit of each child: %s: %s", limit, means, extra={"server": name})
    if any(server.gives_each_session_a_process for server in directory.servers.values()):
        logger.warning(
            "isolation is shared, but on an address that strangers reach each session gets a process of its own: "
            "without authentication nobody can be told from anybody"
        )
    for root in roots:
        _say_where(root, settings.path, directory)
    if settings.demo:
        with contextlib.suppress(OSError):  # nobody reads it
            sys.stderr.write(lesson(roots[0] + settings.path))


def _say_where(root: str, path: str, directory: Directory) -> None:
    if directory.default is not None:
        logger.info("serving %s%s", root, path, extra={"server": directory.default})
    for name in directory.servers:
        if name != directory.default or len(directory.servers) > 1:
            logger.info("serving %s%s", root, path_of(name), extra={"server": name})
    if directory.default is None:
        logger.info("nothing is at %s%s; --default-server puts one of the servers there", root, path)


def missing_programs(directory: Directory) -> Mapping[str, ProgramNotFound]:
    """The servers whose programs do not exist, and why they can't be started."""
    missing: dict[str, ProgramNotFound] = {}
    for name, server in directory.servers.items():
        try:
            find_program(server.spec.argv, env=server.spec.env, cwd=server.spec.cwd)
        except ProgramNotFound as exc:
            missing[name] = exc
    return missing


def warn_of_missing_programs(directory: Directory) -> None:
    """Say which servers can't be started; the others are served."""
    for name, fault in missing_programs(directory).items():
        logger.error("server can't be started: %s", fault, extra={"server": name})


def lesson(url: str) -> str:
    """What to do with the URL: a request to paste into a shell, a configuration to paste into a client."""
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "curl", "version": "1"},
        },
    }
    command = "mcp-proxy" if shutil.which("mcp-proxy") else sys.argv[0]
    client = {"mcpServers": {"demo": {"type": "http", "url": url}}}
    return f"""
  The demo server is at   {url}

  Say hello:
    curl -i {url} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \\
      -d '{json.dumps(hello)}'

  Paste into a client's configuration:
    {json.dumps(client)}

  Serve your own:         {command} --command "uvx mcp-server-fetch"        (uvx comes with: pip install uv)
  Stop with Ctrl-C.

"""
