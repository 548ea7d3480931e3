"""What a fault looks like to the client that meets it."""

from typing import Any

from tests.support.mcp import Client, error_of, request

INTERNAL_ERROR = -32603
QUICK_SECONDS = 4.5
"""An end that is seen, not waited for: before any time-out of the daemon is over, and generous to a busy machine."""


async def assert_over(client: Client) -> None:
    """The session has ended with its child."""
    assert error_of(await client.post(request(7, "ping"))) == (404, -32001, 7)


def failure_of(message: dict[str, Any]) -> tuple[Any, Any]:
    """Id and code of an error that came as an event."""
    error = message["error"]
    assert isinstance(error, dict) and error["message"]
    return message["id"], error["code"]
