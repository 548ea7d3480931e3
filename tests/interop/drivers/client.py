"""Plays one scenario with the official Python client and prints what the client saw.

In: one JSON document on stdin, see tests/interop/transcripts.py. Out: one JSON document on stdout.
The twin of client.mjs: same steps, same transcript, so that one scenario serves both.
"""

import json
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import anyio
import httpx
from mcp import Client, MCPError, types
from mcp.client import ClientRequestContext
from mcp.client.session import IncomingMessage
from mcp.client.stdio import StdioServerParameters
from mcp.shared.dispatcher import ProgressFnT
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

Json: TypeAlias = dict[str, Any]


def plain(model: BaseModel) -> Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def note_into(entries: list[Json]) -> ProgressFnT:
    async def note(progress: float, total: float | None, message: str | None) -> None:
        entries.append({"progress": progress, "total": total, "message": message})

    return note


class Recorder:
    """What the server sent by itself, by method, in the order of arrival."""

    def __init__(self) -> None:
        self.inbound: dict[str, list[Json]] = {}
        self.faults: list[str] = []
        self._news = anyio.Event()

    def add(self, method: str, entry: Json) -> None:
        self.inbound.setdefault(method, []).append(entry)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, counts: dict[str, int], seconds: float) -> Json:
        """Wait for the counts; give what is still missing, empty when every count was reached in time."""

        def missing() -> Json:
            seen = {method: len(self.inbound.get(method, ())) for method in counts}
            return {m: {"wanted": counts[m], "seen": n} for m, n in seen.items() if n < counts[m]}

        with anyio.move_on_after(seconds):
            while missing():
                await self._news.wait()
        return missing()


class Player:
    def __init__(self, job: Json) -> None:
        self.job = job
        self.limit_seconds: float = job["limitSeconds"]
        self.answers: dict[str, Json] = dict(job["answers"])
        self.recorder = Recorder()
        self.client = self._client()
        self.watching = AsyncExitStack()

    def _client(self) -> Client:
        connect = self.job["connect"]
        return Client(
            connect["url"] if "url" in connect else StdioServerParameters(**connect["stdio"]),
            mode=self.job["mode"],
            log_level=self.job["logLevel"],
            read_timeout_seconds=self.limit_seconds,
            client_info=types.Implementation(**self.job["clientInfo"]),
            sampling_callback=self._sampling,
            elicitation_callback=self._elicitation,
            list_roots_callback=self._roots,
            message_handler=self._message,
        )

    async def _message(self, message: IncomingMessage) -> None:
        if isinstance(message, Exception):
            self.recorder.faults.append(repr(message))
        elif not isinstance(message, types.ProgressNotification):
            dumped = plain(message)
            self.recorder.add(dumped["method"], dumped.get("params", {}))

    def _answer(self, method: str, params: Json) -> types.ErrorData | Json:
        answer = self.answers[method]
        self.recorder.add(method, {"params": params, "answer": answer.get("result", answer.get("error"))})
        return types.ErrorData(**answer["error"]) if "error" in answer else answer["result"]

    async def _sampling(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        answer = self._answer("sampling/createMessage", plain(params))
        return answer if isinstance(answer, types.ErrorData) else types.CreateMessageResult(**answer)

    async def _elicitation(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        answer = self._answer("elicitation/create", plain(params))
        return answer if isinstance(answer, types.ErrorData) else types.ElicitResult(**answer)

    async def _roots(self, context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:
        answer = self._answer("roots/list", {})
        return answer if isinstance(answer, types.ErrorData) else types.ListRootsResult(**answer)

    async def play(self) -> Json:
        steps: list[Json] = []
        counts: dict[str, int] = {}
        give_up = anyio.current_time() + self.job["giveUpAfterSeconds"]
        async with self.client as client, self.watching:
            server = {
                "protocolVersion": client.protocol_version,
                "info": plain(client.server_info) if client.server_info else None,
                "capabilities": plain(client.server_capabilities),
                "instructions": client.instructions,
            }
            for step in self.job["steps"]:
                late = anyio.current_time() > give_up
                outcome = {"error": {"type": "OutOfTime", "message": ""}} if late else await self.take(step)
                for method, count in step["expect"].items():
                    counts[method] = counts.get(method, 0) + count
                missing = await self.recorder.until(counts, 0 if late else self.limit_seconds)
                # Say it once; the next step waits for its own.
                counts |= {method: entry["seen"] for method, entry in missing.items()}
                steps.append({"name": step["name"], **outcome, **({"missing": missing} if missing else {})})
        return {
            "server": server,
            "steps": steps,
            "inbound": self.recorder.inbound,
            "faults": self.recorder.faults,
        }

    async def take(self, step: Json) -> Json:
        progress: list[Json] = []
        run: Callable[[Json, list[Json]], Awaitable[Any]] = getattr(self, step["op"])
        outcome: Json
        try:
            with anyio.fail_after(self.limit_seconds * 2):
                result = await run(step["args"], progress)
            outcome = {"result": plain(result) if isinstance(result, BaseModel) else result}
        except MCPError as error:
            outcome = {"error": plain(error.error)}
        except (ValidationError, ValueError, RuntimeError, TimeoutError) as error:
            outcome = {"error": {"type": type(error).__name__, "message": str(error)}}
        return {**outcome, **({"progress": progress} if progress else {})}

    # One method per operation of tests/interop/steps.py.

    async def ping(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.session.send_ping()

    async def list_tools(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.list_tools()

    async def list_resources(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.list_resources()

    async def list_resource_templates(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.list_resource_templates()

    async def list_prompts(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.list_prompts()

    async def read(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.read_resource(args["uri"])

    async def subscribe(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.session.subscribe_resource(args["uri"])

    async def unsubscribe(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.session.unsubscribe_resource(args["uri"])

    async def watch(self, args: Json, progress: list[Json]) -> None:
        """Hear of changes of the list of resources, and of some of them, as the era of the connection does it."""
        if self.client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            listen = self.client.listen(resources_list_changed=True, resource_subscriptions=args["uris"])
            await self.watching.enter_async_context(listen)
        else:
            for uri in args["uris"]:
                await self.client.session.subscribe_resource(uri)

    async def unwatch(self, args: Json, progress: list[Json]) -> None:
        await self.watching.aclose()
        if self.client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            for uri in args["uris"]:
                await self.client.session.unsubscribe_resource(uri)

    async def get_prompt(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.get_prompt(args["name"], args.get("arguments"))

    async def complete(self, args: Json, progress: list[Json]) -> Any:
        ref = args["ref"]
        reference = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        known = args.get("context", {}).get("arguments")
        return await self.client.complete(reference(**ref), args["argument"], known)

    async def set_level(self, args: Json, progress: list[Json]) -> Any:
        return await self.client.session.set_logging_level(args["level"])

    async def request(self, args: Json, progress: list[Json]) -> Any:
        request = types.Request[Json, str](method=args["method"], params=args["params"])
        return await self.client.session.send_request(request, types.EmptyResult)

    async def roots_changed(self, args: Json, progress: list[Json]) -> None:
        await self.client.session.send_roots_list_changed()

    async def set_answer(self, args: Json, progress: list[Json]) -> None:
        self.answers[args["method"]] = args["answer"]

    async def call(self, args: Json, progress: list[Json]) -> Any:
        until: str = args["until"]
        noting = note_into(progress)
        with anyio.move_on_after(self.limit_seconds) as waiting:
            while True:
                result = await self.client.call_tool(args["name"], args["arguments"], progress_callback=noting)
                if until in json.dumps(plain(result), ensure_ascii=False):
                    break
        return {"never said": until} if waiting.cancelled_caught else result

    async def cancel(self, args: Json, progress: list[Json]) -> Json:
        """Start a call, cancel it at the moment that ``after`` names, and give how it ended."""
        ended: Json = {"cancelled": True}
        after = args["after"]
        progressed = 0

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            nonlocal progressed
            progressed += 1
            if progressed == after.get("progress"):
                tasks.cancel_scope.cancel()

        async def cancel_when_reached(url: str) -> None:
            async with httpx.AsyncClient(timeout=self.limit_seconds, trust_env=False) as http:
                await http.get(url)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            if "url" in after:
                tasks.start_soon(cancel_when_reached, after["url"])
            result = await self.client.call_tool(args["name"], args["arguments"], progress_callback=on_progress)
            ended = {"finished": plain(result)}
            tasks.cancel_scope.cancel()
        return ended

    async def together(self, args: Json, progress: list[Json]) -> list[Json]:
        outcomes: dict[int, Json] = {}

        async def one(index: int, step: Json) -> None:
            outcomes[index] = await self.take(step)

        async with anyio.create_task_group() as tasks:
            for index, step in enumerate(args["steps"]):
                tasks.start_soon(one, index, step)
        return [outcomes[index] for index in range(len(args["steps"]))]


async def main() -> None:
    transcript = await Player(json.loads(sys.stdin.read())).play()
    sys.stdout.write(json.dumps(transcript, ensure_ascii=False))


if __name__ == "__main__":
    # Legacy features are deprecated for newer revisions; they are what this client is tested with.
    warnings.simplefilter("ignore")
    anyio.run(main)
