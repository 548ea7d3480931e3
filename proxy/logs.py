"""How does the daemon log?

On stderr, a line for each event: a constant message, and fields. What a client or a child wrote can't forge a line.
"""

import json
import logging
import sys
import time
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
    # These reverse what a terminal shows of the line.
    **{code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def configure(level: str, form: str) -> None:
    """Send everything that is logged to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `text` or `json`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(IntendedFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # sse_starlette logs payloads at DEBUG; uvicorn tells at INFO what we tell ourselves.
    # A logger's own level is asked instead of the root's: never louder than what was asked for.
    quiet = logging.INFO if level == "debug" else max(logging.WARNING, root.level)
    for name in ("sse_starlette", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(quiet)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class IntendedFilter(logging.Filter):
    """Leaves out what uvicorn takes for a fault and is not: a response to a client that does not read is given up."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        return not record.getMessage().startswith("ASGI callable returned without completing response")


class TextFormatter(logging.Formatter):
    """`2026-11-21T10:00:00.123Z INFO proxy.sessions session opened session=ab12cd34 pid=123`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows, indented, if there is one."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        text = f"{_timestamp(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        line = text.translate(_CONTROL)
        if record.exc_info:
            line += "".join(
                f"\n  {row.translate(_CONTROL)}" for row in self.formatException(record.exc_info).splitlines()
            )
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: `ts`, `level`, `logger`, `message`, and every field."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback is the field `exception`."""
        entry: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # What we say of the record stands; a field of the same name is told beside it.
        entry |= {f"{name}_" if name in entry else name: value for name, value in _fields(record).items()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            return json.dumps(entry, default=str, allow_nan=False)
        except (TypeError, ValueError):  # odd keys, NaN, a loop: a line that reads worse, not a lost one
            return json.dumps({name: str(value) for name, value in entry.items()})
