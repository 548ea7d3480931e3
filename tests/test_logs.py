"""How the daemon logs."""

import json
import logging
import sys
from typing import Any

import pytest

from proxy.logs import JsonFormatter, TextFormatter


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


@pytest.mark.parametrize("evil", ["a\nINFO forged", "a\r\nb", "a\x1b[31mred", "a\u2028b", "a\x85b", "\x00"])
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_others_wrote_can_not_forge_a_line(evil: str, formatter: logging.Formatter) -> None:
    for made in (record("%s", evil), record(reason=evil)):
        line = formatter.format(made)
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line


def test_a_traceback_is_kept() -> None:
    text = TextFormatter().format(record("failed", exc_info=failure()))
    entry = json.loads(JsonFormatter().format(record("failed", exc_info=failure())))

    assert all(line.startswith("  ") for line in text.splitlines()[1:])
    assert "ValueError: broken" in text
    assert "ValueError: broken\nhere" in entry["exception"]
