"""What do those mean by a flag who know another bridge?"""

_MEANT = {
    ("--timeout", "--request-timeout"): "--call-timeout bounds a call, --idle-timeout a session",
    ("--debug", "--verbose", "-v"): "--log-level debug shows more",
    ("--stdio", "--server-command"): "a server's command goes behind -- or into --command",
    ("--transport", "--server", "--output-transport"): "streamable HTTP is always served; --legacy-sse serves SSE, too",
    ("--sse-port", "--sse-host"): "--port and --host, and --legacy-sse for clients of 2024-11-05",
    ("--cors", "--allow-origin"): "--allowed-origin lets pages of others call",
    ("--stateless", "--stateful"): "--isolation request serves without sessions",
    ("--named-server-config", "--config-file"): "--config names the file",
    ("--max-memory", "--memory"): "--child-memory bounds the RAM of a server's process",
    ("--env-file", "--pass-environment"): "--env NAME=VALUE sets a variable, --pass-env NAME passes one on",
}

FOREIGN_FLAGS = {flag: meant for flags, meant in _MEANT.items() for flag in flags}
"""Flags of other bridges, and what does the same here."""
