"""One policy each, pure ASGI."""
