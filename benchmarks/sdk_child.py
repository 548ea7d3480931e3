"""The smallest server on the official Python SDK: what a session costs when its child takes long to start."""

from mcp.server import MCPServer

server = MCPServer("benchmark-sdk-child")


@server.tool()
def echo(text: str) -> str:
    """Give the text back."""
    return text


if __name__ == "__main__":
    server.run()
