"""What are people told of a child that is gone, or was never ready?"""

import re


def missing_package_hint(stderr_tail: list[str]) -> str | None:
    """What to tell an operator whose package runner found no such package; None if that is not what happened."""
    text = "\n".join(stderr_tail)
    npm = re.search(r"404 [^\n]*'((?:@[\w.-]+/)?[\w.-]+)@[^']*'", text)  # npm 8 to 11
    if npm or ("E404" in text and "npm" in text):
        name = f" {npm[1]!r}" if npm else ""
        hint = f"the npm registry has no package{name}; check its name"
        if "server-fetch" in text:
            hint += " (the fetch server is a Python package: uvx mcp-server-fetch)"
        return hint
    found = re.search(r"[Bb]ecause (\S+) was not found in the package registry", text)
    return f"the Python package index has no package {found[1]!r}; check its name" if found else None


def what_happened(returncode: int | None) -> str:
    """How a child went, as `The server ...` goes on; None means that it lives, but has closed a pipe."""
    if returncode is None:
        return "closed its end of the connection"
    return f"was ended by signal {-returncode}" if returncode < 0 else f"exited with code {returncode}"
