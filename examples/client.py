"""Talk to a running bridge with the official Python SDK.

mcp-proxy --demo &
python examples/client.py http://127.0.0.1:3000/mcp
"""

import asyncio
import sys

from mcp import Client


async def main(url: str) -> None:
    """List the tools of a server and call its echo."""
    async with Client(url, mode="legacy") as client:
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        result = await client.call_tool("echo", {"text": "hello"})
        print("echo:", result.content[0])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000/mcp"))
