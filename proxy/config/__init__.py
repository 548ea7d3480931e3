"""The config file: several servers in the form that MCP clients use."""
