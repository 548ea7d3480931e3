"""Questions of a child become input_required, and retries go on where they were asked: once, in time, unforged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import ALL, PREFIX, Json, ModernClient, modern, modern_client, retry, tool

ACCEPT: Json = {"action": "accept", "content": {"name": "Ada"}}
SAMPLED: Json = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi"}}
ANSWERS: Json = {"name": ACCEPT, "word": SAMPLED, "roots": {"roots": []}, "url": {"action": "accept"}, "q1": ACCEPT}
TASKS: Json = {"extensions": {f"{PREFIX}tasks": {}}}


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counts") / "counts"


@pytest.fixture(scope="module")
def daemon(counts: Path) -> Iterator[Daemon]:
    with serving_modern(modes=(f"counts-file={counts}",)) as daemon:
        yield daemon


def all_runs(counts: Path) -> str:
    """What the child has noted of every run of a tool."""
    return counts.read_text()


async def refusal(client: ModernClient, message: Json) -> tuple[int, int, Any]:
    """Status, code and id of a request that must be refused."""
    response = await client.post(message)
    return response.status_code, response.json()["error"]["code"], response.json()["id"]


async def continuations(client: ModernClient) -> int:
    shown: int = (await client.http.get(client.url.replace("/mcp", "/health"))).json()["modern"]["continuations"]
    return shown


ASKING: list[tuple[str, Json, list[str]]] = [
    ("tools/call", {"name": "ask-elicit", "arguments": {"message": "who?"}}, ["elicitation/create"]),
    ("tools/call", {"name": "ask-sample", "arguments": {}}, ["sampling/createMessage"]),
    ("tools/call", {"name": "ask-roots", "arguments": {}}, ["roots/list"]),
    ("tools/call", {"name": "ask-both", "arguments": {}}, ["elicitation/create", "sampling/createMessage"]),
    ("tools/call", {"name": "ask-url", "arguments": {"key": 1}}, ["elicitation/create"]),
    ("prompts/get", {"name": "ask"}, ["elicitation/create"]),
    ("resources/read", {"uri": "ask://elicit"}, ["elicitation/create"]),
]


@pytest.mark.parametrize(("method", "params", "kinds"), ASKING)
async def test_what_is_asked_is_answered_by_a_retry(
    daemon: Daemon, method: str, params: Json, kinds: list[str]
) -> None:
    """HM-20, HM-21, SC-12: under another id, and no other member than these."""
    message = modern("first", method, params, capabilities=ALL)
    async with modern_client(daemon.url) as client:
        asked = await client.result(message)
        questions = asked["inputRequests"]
        answers = {key: ANSWERS[key] for key in questions}
        done = await client.result(retry(message, "second", asked, answers))
        left = await continuations(client)

    assert asked["resultType"] == "input_required"
    assert not asked.keys() & {"ttlMs", "cacheScope"}
    assert [each["method"] for each in questions.values()] == kinds
    assert done["resultType"] == "complete"
    assert json.dumps(answers)[1:-1] in json.dumps(done).replace('\\"', '"')
    assert left == 0


async def test_each_round_has_a_state_of_its_own(daemon: Daemon) -> None:
    message = tool(1, "ask-n", capabilities=ALL, rounds=4)
    states = []
    async with modern_client(daemon.url) as client:
        result = await client.result(message)
        while result["resultType"] == "input_required":
            states.append(result["requestState"])
            (key,) = result["inputRequests"]
            result = await client.result(retry(message, len(states), result, {key: ACCEPT}))

    assert len(set(states)) == 4
    assert result["structuredContent"] == {"rounds": [{f"q{nth}": ACCEPT} for nth in range(1, 5)]}


async def test_a_state_alone_means_try_again(daemon: Daemon) -> None:
    """B.6."""
    message = tool(1, "state-only", capabilities=ALL, times=3)
    async with modern_client(daemon.url) as client:
        result, tries = await client.result(message), 0
        while result["resultType"] == "input_required":
            assert "inputRequests" not in result
            result, tries = await client.result(retry(message, 1, result, None)), tries + 1

    assert (tries, result["structuredContent"]) == (3, {"rounds": [{}, {}, {}]})


async def test_what_the_child_gave_stays_with_the_bridge(daemon: Daemon) -> None:
    """HM-22."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL)
        asked = await client.result(message)
        await client.result(retry(message, 2, asked, {"name": ACCEPT}))
        lines = (await client.call(1, "seen"))["lines"]

    assert asked["requestState"].isascii() and len(asked["requestState"]) == 43
    assert not any(asked["requestState"] in line for line in lines)


def with_null(message: Json) -> Json:
    return {**message, "params": {**message["params"], "inputResponses": None}}


REFUSED: list[tuple[str, Any]] = [
    ("made up", lambda message, asked: retry(message, 9, {"requestState": "x" * 43}, {"name": ACCEPT})),
    ("empty", lambda message, asked: retry(message, 9, {"requestState": ""}, {"name": ACCEPT})),
    ("null", lambda message, asked: retry(message, 9, {"requestState": None}, {"name": ACCEPT})),
    ("a number", lambda message, asked: retry(message, 9, {"requestState": 7}, {"name": ACCEPT})),
    ("longer", lambda message, asked: retry(message, 9, {"requestState": asked["requestState"] + "-TAMPERED"}, None)),
    ("shorter", lambda message, asked: retry(message, 9, {"requestState": asked["requestState"][:-1]}, None)),
    ("of another tool", lambda message, asked: retry(tool(1, "ask-n", capabilities=ALL), 9, asked, {"name": ACCEPT})),
    (
        "of other arguments",
        lambda message, asked: retry(tool(1, "ask-elicit", capabilities=ALL, key="z"), 9, asked, {"name": ACCEPT}),
    ),
    (
        "of another method",
        lambda message, asked: retry(
            modern(1, "prompts/get", {"name": "ask-elicit", "arguments": {"key": "k"}}, capabilities=ALL),
            9,
            asked,
            {"name": ACCEPT},
        ),
    ),
    ("of a list", lambda message, asked: retry(modern(1, "tools/list", capabilities=ALL), 9, asked, None)),
    ("with null for answers", lambda message, asked: retry(with_null(message), 9, asked, None)),
    ("with a number", lambda message, asked: retry(message, 9, asked, {"name": 12345})),
    ("with another kind", lambda message, asked: retry(message, 9, asked, {"name": SAMPLED})),
]


@pytest.mark.parametrize(("kind", "change"), REFUSED, ids=[kind for kind, _ in REFUSED])
async def test_a_wrong_retry_is_refused_runs_nothing_and_spoils_nothing(
    daemon: Daemon, counts: Path, kind: str, change: Any
) -> None:
    """HM-22, HM-23: the child never sees it, and the right one works afterwards."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL, key="k")
        asked = await client.result(message)
        before = all_runs(counts)

        assert await refusal(client, change(message, asked)) == (400, -32602, 9)
        assert all_runs(counts) == before
        done = await client.result(retry(message, 2, asked, {"name": ACCEPT}))

    assert done["structuredContent"] == {"rounds": [{"name": ACCEPT}]}


async def test_a_retry_that_comes_again_runs_nothing(daemon: Daemon, counts: Path) -> None:
    """HM-22: also while the first one is under way."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL, key="again")
        asked = await client.result(message)
        again = retry(message, 2, asked, {"name": ACCEPT})
        await client.result(again)
        ran = all_runs(counts).count("again")

        for _ in range(3):
            assert await refusal(client, again) == (400, -32602, 2)

    assert (ran, all_runs(counts).count("again")) == (2, 2)  # to be asked, and to be answered


async def test_answers_that_are_missing_are_asked_for_again_and_others_ignored(daemon: Daemon) -> None:
    """HM-23."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-both", capabilities=ALL)
        asked = await client.result(message)
        again = await client.result(retry(message, 2, asked, {"name": ACCEPT, "unasked": 12345}))
        assert again["requestState"] != asked["requestState"]
        assert list(again["inputRequests"]) == ["word"]
        done = await client.result(retry(message, 3, again, {"word": SAMPLED}))

        assert done["structuredContent"] == {"rounds": [{"name": ACCEPT, "word": SAMPLED}]}
        assert await refusal(client, retry(message, 4, asked, {"name": ACCEPT})) == (400, -32602, 4)


async def test_answers_to_nothing_that_was_asked_are_the_childs_affair(daemon: Daemon) -> None:
    """The official suite sends them with a first call."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL)
        message["params"]["inputResponses"] = {"wrong": 7}

        assert (await client.result(message))["resultType"] == "input_required"


@pytest.mark.parametrize(
    ("name", "capabilities", "required"),
    [
        ("ask-elicit", {}, {"elicitation": {"form": {}}}),
        ("ask-url", {"elicitation": {}}, {"elicitation": {"url": {}}}),
        ("ask-sample", {"elicitation": {}}, {"sampling": {}}),
        ("ask-roots", {"sampling": {}}, {"roots": {}}),
    ],
)
async def test_a_client_is_asked_for_nothing_that_it_does_not_know(
    daemon: Daemon, name: str, capabilities: Json, required: Json
) -> None:
    """HM-16: each request says what its client can do."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(7, name, capabilities=capabilities))

    error = response.json()["error"]
    assert (response.status_code, response.json()["id"]) == (400, 7)
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": required})


async def test_after_its_time_a_state_is_good_for_nothing() -> None:
    with serving_modern("--continuation-timeout", "0.5s", "--max-continuations", "2") as daemon:
        async with modern_client(daemon.url) as client:
            message = tool(1, "ask-elicit", capabilities=ALL)
            asked = [await client.result(message) for _ in range(2)]
            full = await client.post(tool(3, "ask-elicit", capabilities=ALL))

            async def are_expired() -> bool:
                return await continuations(client) == 0

            await until(are_expired, "both are expired")
            for each in asked:
                assert await refusal(client, retry(message, 2, each, {"name": ACCEPT})) == (400, -32602, 2)
            report = (await client.http.get(daemon.base_url + "/health")).json()

    assert (full.status_code, full.json()["error"]["code"], full.json()["id"]) == (503, -32603, 3)
    assert full.headers["retry-after"]
    assert report["counts"]["expired.continuation"] == 2
    assert report["counts"]["refused.too_many_continuations"] == 1


async def test_a_process_that_dies_takes_its_questions_with_it(daemon: Daemon, counts: Path) -> None:
    """D.2 step 9: another one could not read the state, and nothing is run by it."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL, key="dead")
        asked = await client.result(message)
        assert (await client.post(tool(1, "exit"))).status_code == 500
        ran = all_runs(counts).count("dead")

        assert await refusal(client, retry(message, 2, asked, {"name": ACCEPT})) == (400, -32602, 2)
        assert await continuations(client) == 0
        assert all_runs(counts).count("dead") == ran


# ---- tasks


def of_task(method: str, task_id: Any, capabilities: Json | None = None, **params: Any) -> Json:
    declared = TASKS if capabilities is None else capabilities
    return modern(9, method, {"taskId": task_id, **params}, capabilities=declared)


async def test_a_task_is_its_clients_from_the_moment_it_is_told_of_it(daemon: Daemon) -> None:
    """HM-32: on another connection, with other capabilities beside."""
    async with modern_client(daemon.url) as client, modern_client(daemon.url) as other:
        task = await client.result(tool(1, "task", capabilities=TASKS, ask=True))
        assert (task["resultType"], task["status"]) == ("task", "working")
        task_id = task["taskId"]

        got = await other.result(of_task("tasks/get", task_id, {**TASKS, "roots": {}}))
        assert (got["status"], list(got["inputRequests"])) == ("input_required", ["name"])
        await client.result(of_task("tasks/update", task_id, inputResponses={"name": ACCEPT}))
        got = await client.result(of_task("tasks/get", task_id))
        assert (got["status"], got["result"]["structuredContent"]) == ("completed", {"answers": {"name": ACCEPT}})
        second = (await client.result(tool(1, "task", capabilities=TASKS)))["taskId"]
        await other.result(of_task("tasks/cancel", second))
        assert (await client.result(of_task("tasks/get", second)))["status"] == "cancelled"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_client_that_does_not_know_tasks_has_none(daemon: Daemon, method: str) -> None:
    """HM-32: that it lacks the extension is told before whether there is such a task."""
    async with modern_client(daemon.url) as client:
        for task_id in ((await client.result(tool(1, "task", capabilities=TASKS)))["taskId"], "gate-test"):
            response = await client.post(of_task(method, task_id, {}))
            error = response.json()["error"]
            assert (response.status_code, error["code"], response.json()["id"]) == (400, -32021, 9)
            assert error["data"] == {"requiredCapabilities": TASKS}
        assert (await client.result(tool(1, "task")))["structuredContent"] == {"task": False}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize("task_id", ["unknown", "", None, 7, ["x"]])
async def test_an_unknown_task_is_nobodys(daemon: Daemon, method: str, task_id: Any) -> None:
    async with modern_client(daemon.url) as client:
        assert await refusal(client, of_task(method, task_id)) == (400, -32602, 9)


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
async def test_what_the_extension_has_no_more_is_404(daemon: Daemon, method: str) -> None:
    async with modern_client(daemon.url) as client:
        assert await refusal(client, of_task(method, "x")) == (404, -32601, 9)


async def test_a_task_request_names_its_task_in_the_header(daemon: Daemon) -> None:
    """HM-32."""
    async with modern_client(daemon.url) as client:
        task_id = (await client.result(tool(1, "task", capabilities=TASKS)))["taskId"]
        for headers in ({"mcp-name": "other"}, {"mcp-name": None}, {"mcp-method": "tools/call"}):
            response = await client.post(of_task("tasks/get", task_id), dict(headers))
            assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


async def test_a_task_dies_with_its_process(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        task_id = (await client.result(tool(1, "task", capabilities=TASKS)))["taskId"]
        assert (await client.post(tool(1, "exit"))).status_code == 500

        assert await refusal(client, of_task("tasks/get", task_id)) == (400, -32602, 9)
        report = (await client.http.get(daemon.base_url + "/health")).json()
        assert report["modern"]["tasks"] == 0
