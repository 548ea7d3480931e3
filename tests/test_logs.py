"""How the daemon logs."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.logs import IntendedFilter, JsonFormatter, TextFormatter, configure


def record(message: str = "session opened", *args: Any, exc_info: Any = None, **fields: Any) -> logging.LogRecord:
    made = logging.getLogger("proxy.test").makeRecord(
        "proxy.test", logging.INFO, __file__, 1, message, args, exc_info, extra=fields
    )
    made.created, made.msecs = 0.123, 123.0
    return made


def failure() -> Any:
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        return sys.exc_info()


def test_text_is_a_line_with_its_fields() -> None:
    line = TextFormatter().format(record(session="ab12cd34", pid=7))

    assert line == "1970-01-01T00:00:00.123Z INFO proxy.test session opened session=ab12cd34 pid=7"


def test_json_is_an_object_with_its_fields() -> None:
    entry = json.loads(JsonFormatter().format(record("%d served", 3, pid=7, tail=["a"])))

    assert entry == {
        "ts": "1970-01-01T00:00:00.123Z",
        "level": "info",
        "logger": "proxy.test",
        "message": "3 served",
        "pid": 7,
        "tail": ["a"],
    }


@pytest.mark.parametrize("evil", ["a\nINFO forged", "a\r\nb", "a\x1b[31mred", "a\u2028b", "a\x85b", "\x00", "a\u202eb"])
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_others_wrote_can_not_forge_a_line(evil: str, formatter: logging.Formatter) -> None:
    for made in (record("%s", evil), record(reason=evil)):
        line = formatter.format(made)
        assert len(line.splitlines()) == 1
        assert not {"\x1b", "\u202e"} & set(line)


def test_a_traceback_is_kept() -> None:
    text = TextFormatter().format(record("failed", exc_info=failure()))
    entry = json.loads(JsonFormatter().format(record("failed", exc_info=failure())))

    assert all(line.startswith("  ") for line in text.splitlines()[1:])
    assert "ValueError: broken" in text
    assert "ValueError: broken\nhere" in entry["exception"]


def test_a_field_does_not_replace_what_we_say_of_the_record() -> None:
    entry = json.loads(JsonFormatter().format(record(level="x", logger="y", ts="z")))

    assert (entry["level"], entry["logger"], entry["ts"]) == ("info", "proxy.test", "1970-01-01T00:00:00.123Z")
    assert (entry["level_"], entry["logger_"], entry["ts_"]) == ("x", "y", "z")


def test_what_is_no_json_is_told_as_text() -> None:
    loop: list[Any] = []
    loop.append(loop)

    for odd in ({(1, 2): 3}, float("nan"), loop):
        entry = json.loads(JsonFormatter().format(record(odd=odd, pid=7)), parse_constant=pytest.fail)
        assert (entry["message"], entry["odd"]) == ("session opened", str(odd))


@pytest.fixture
def loggers() -> Iterator[None]:
    """The logging of this process as it was, afterwards."""
    names = ("", "sse_starlette", "uvicorn", "asyncio")
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in names}
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("debug", logging.DEBUG, logging.INFO),
        ("info", logging.INFO, logging.WARNING),
        ("warning", logging.WARNING, logging.WARNING),
        ("error", logging.ERROR, logging.ERROR),
    ],
)
@pytest.mark.parametrize("name", ["sse_starlette.sse", "uvicorn.error", "asyncio"])
@pytest.mark.usefixtures("loggers")
def test_libraries_say_less_than_we_do_and_never_payloads(level: str, ours: int, theirs: int, name: str) -> None:
    """sse_starlette logs payloads at DEBUG."""
    configure(level, "text")

    assert logging.getLogger("proxy.x").getEffectiveLevel() == ours
    assert logging.getLogger(name).getEffectiveLevel() == theirs


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("loggers")
def test_everything_goes_to_stderr_in_the_form_asked_for(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", form)

    logging.getLogger("uvicorn.error").warning("theirs")
    logging.getLogger("proxy.x").info("ours")

    said = capsys.readouterr()
    first, second = said.err.splitlines()
    assert said.out == ""
    assert (first.startswith("{"), second.startswith("{")) == (form == "json", form == "json")
    assert ("theirs" in first, "ours" in second) == (True, True)


def test_a_response_that_is_given_up_on_purpose_is_no_fault() -> None:
    given_up = record("ASGI callable returned without completing response.")

    assert not IntendedFilter().filter(given_up)
    assert IntendedFilter().filter(record("Exception in ASGI application"))
