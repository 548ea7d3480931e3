"""A bundled MCP server on stdio that shows everything a client can do: `python -m proxy.demo`.

Standard library only, so there is nothing to install and it is ready within milliseconds. It speaks the
revisions with a handshake: 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25. Nothing is imported here,
to keep it so.
"""
