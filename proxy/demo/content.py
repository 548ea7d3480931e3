"""What is there to read, to be prompted with, and to complete?

Spec: 2025-11-25 server/resources, server/prompts, server/utilities/completion.
"""

from urllib.parse import unquote

from proxy.demo.messages import INVALID_PARAMS, RESOURCE_NOT_FOUND, Json, RpcError

COUNTER = "demo://counter"
README = "demo://readme"
NOTE_PREFIX = "demo://note/"
GREETING_PREFIX = "demo://greeting/"
GREETING_TEMPLATE = GREETING_PREFIX + "{name}"

MAX_NOTES = 200
"""Resources the tool touch can add. Ours: enough for a few pages, and no more memory than that."""

MAX_COMPLETIONS = 100
"""2025-11-25 server/utilities/completion, Completion Results: maximum 100 items per response."""

README_TEXT = """\
# The demo server

- Call the tools `echo`, `add`, `slow`, `log` and `touch`; `sample`, `elicit` and `roots` ask you back.
- Subscribe to `demo://counter` and call `touch`: you are told that it changed.
- Read `demo://greeting/{name}` with any name.
- Get the prompt `introduce`; its arguments can be completed.
"""

FRAMEWORKS = {
    "go": ("chi", "echo", "gin"),
    "python": ("django", "fastapi", "flask", "starlette"),
    "typescript": ("express", "fastify", "hono"),
}
NAMES = ("Ada", "Alan", "Barbara", "Edsger", "Grace")

TEMPLATES: list[Json] = [
    {
        "uriTemplate": GREETING_TEMPLATE,
        "name": "greeting",
        "title": "Greeting",
        "description": "A greeting for whom you name",
        "mimeType": "text/plain",
    }
]

PROMPTS: list[Json] = [
    {
        "name": "introduce",
        "title": "Introduce a language",
        "description": "Asks for a short introduction; both arguments can be completed",
        "arguments": [
            {"name": "language", "description": "A programming language", "required": True},
            {"name": "framework", "description": "A framework for it", "required": False},
        ],
    },
    {
        "name": "tour",
        "title": "Tour",
        "description": "Asks for a tour of this server; brings the readme along",
    },
]


class Library:
    """The resources, of which the counter changes and the notes become more."""

    def __init__(self) -> None:
        self.counter = 0
        self._notes: list[str] = []

    def add_note(self, name: str) -> bool:
        """Add the resource of this name; False if it is there already.

        Raises:
            ValueError: If there are `MAX_NOTES` already.
        """
        if name in self._notes:
            return False
        if len(self._notes) >= MAX_NOTES:
            raise ValueError(f"there are {MAX_NOTES} notes already")
        self._notes.append(name)
        return True

    def list_resources(self) -> list[Json]:
        """List the resources, new ones last."""
        counter = {"description": "How often the tool touch was called", "mimeType": "text/plain"}
        readme = {"description": "What to try", "mimeType": "text/markdown"}
        return [
            {"uri": COUNTER, "name": "counter", "title": "Counter"} | counter,
            {"uri": README, "name": "readme", "title": "Read me"} | readme,
            *({"uri": NOTE_PREFIX + name, "name": name, "mimeType": "text/plain"} for name in self._notes),
        ]

    def read(self, uri: str) -> Json:
        """Give the content of one resource.

        Raises:
            RpcError: If there is no such resource.
        """
        kind, text = "text/plain", ""
        if uri == COUNTER:
            text = str(self.counter)
        elif uri == README:
            kind, text = "text/markdown", README_TEXT
        elif uri.startswith(NOTE_PREFIX) and uri.removeprefix(NOTE_PREFIX) in self._notes:
            text = f"A note named {uri.removeprefix(NOTE_PREFIX)}."
        elif uri.startswith(GREETING_PREFIX) and _is_one_segment(uri.removeprefix(GREETING_PREFIX)):
            text = f"Hello, {unquote(uri.removeprefix(GREETING_PREFIX))}!"
        else:
            raise RpcError(RESOURCE_NOT_FOUND, "resource not found", {"uri": uri})
        return {"uri": uri, "mimeType": kind, "text": text}


def fill_prompt(name: str, arguments: Json, library: Library) -> Json:
    """Give the messages of a prompt.

    Raises:
        RpcError: If there is no such prompt, or its arguments are wrong.

    Spec: 2025-11-25 server/prompts, Error Handling: -32602 for both.
    """
    prompt = next((prompt for prompt in PROMPTS if prompt["name"] == name), None)
    if prompt is None:
        raise RpcError(INVALID_PARAMS, f"unknown prompt: {name}")
    known = {argument["name"]: argument["required"] for argument in prompt.get("arguments", ())}
    if missing := [key for key, is_required in known.items() if is_required and key not in arguments]:
        raise RpcError(INVALID_PARAMS, f"missing argument: {missing[0]}")
    if wrong := [key for key, value in arguments.items() if key not in known or not isinstance(value, str)]:
        raise RpcError(INVALID_PARAMS, f"unknown argument, or not a string: {wrong[0]}")
    content: list[Json]
    if name == "introduce":
        subject = f"{arguments['framework']} for " if "framework" in arguments else ""
        content = [{"type": "text", "text": f"Introduce {subject}{arguments['language']} in three sentences."}]
    else:
        content = [
            {"type": "text", "text": "Give me a tour of this server."},
            {"type": "resource", "resource": library.read(README)},
        ]
    messages = [{"role": "user", "content": block} for block in content]
    return {"description": prompt["description"], "messages": messages}


def complete(reference: Json, name: str, value: str, context: Json) -> Json:
    """Propose values that begin as `value` does, for an argument of a prompt or a variable of a template.

    Args:
        context: Arguments chosen before; the language decides which frameworks are proposed.

    Raises:
        RpcError: If what is referred to does not exist.

    Spec: 2025-11-25 server/utilities/completion.
    """
    proposals: list[str] = []
    match reference:
        case {"type": "ref/prompt", "name": str(prompt)} if any(prompt == known["name"] for known in PROMPTS):
            if (prompt, name) == ("introduce", "language"):
                proposals = list(FRAMEWORKS)
            elif (prompt, name) == ("introduce", "framework"):
                language = context.get("language")
                lists = [FRAMEWORKS.get(language, ())] if isinstance(language, str) else FRAMEWORKS.values()
                proposals = sorted(framework for frameworks in lists for framework in frameworks)
        case {"type": "ref/resource", "uri": str(uri)} if uri == GREETING_TEMPLATE:
            proposals = list(NAMES) if name == "name" else []
        case _:
            raise RpcError(INVALID_PARAMS, "there is no such prompt or resource template to complete")
    values = [proposal for proposal in proposals if proposal.lower().startswith(value.lower())]
    return {
        "values": values[:MAX_COMPLETIONS],
        "total": len(values),
        "hasMore": len(values) > MAX_COMPLETIONS,
    }


def _is_one_segment(text: str) -> bool:
    """Tell if `{name}` can expand to it: not empty, reserved characters percent-encoded (RFC 6570, 3.2.2)."""
    return bool(text) and not any(character in text for character in "/?#")
