"""mcp-server-fetch: its tool and its prompt, and a cancelled call seen from the other end."""

from tests.interop.steps import Scenario, Step, call, cancel, listing, prompt

STEPS: list[Step] = [
    Step("ping"),
    listing("list_tools", "max_length"),
    listing("list_prompts", "fetch"),
    call("fetch", {"url": "<site>/page.html"}, says="A heading of the page"),
    call("fetch", {"url": "<site>/page.html", "raw": True}, says="<h1>"),
    call("fetch", {"url": "<site>/long.txt", "max_length": 100}, says="start_index of 100"),
    call("fetch", {"url": "<site>/long.txt", "max_length": 400_000}, says="line 29999"),
    call("fetch", {"url": "<site>/long.txt", "start_index": 900_000}, says="No more content available"),
    call("fetch", {"url": "<site>/data.json"}, says="cannot be simplified"),
    call("fetch", {"url": "<site>/moved"}, says="A heading of the page"),
    call("fetch", {"url": "<site>/missing"}, ends="tool error", says="status code 404"),
    call("fetch", {"url": "<site>/private/page.html"}, ends="tool error", says="autonomous fetching"),
    call("fetch", {"url": "not a url"}, ends="tool error", says="url"),
    call("fetch", {"url": "<site>/page.html", "max_length": 0}, ends="tool error", says="max_length"),
    call("unknown", ends="error", says="-32602"),
    prompt("fetch", {"url": "<site>/private/page.html"}, says="A heading of the page"),
    prompt("fetch", {"url": "<site>/missing"}, says="status code 404"),
    prompt("fetch", {}, ends="error", says="-32602"),
    # The cancellation must arrive: the server gives up its own request, and the site notices.
    cancel("fetch", {"url": "<site>/slow"}, after={"url": "<site>/slow-has-started"}),
    call("fetch", {"url": "<site>/slow-was-abandoned"}, says="the reader went away"),
    Step("ping"),
]

SCENARIO = Scenario(steps=STEPS)
