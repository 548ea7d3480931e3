"""Which logs of a shared child does each session want?

The child has one level: the most verbose of those that its sessions have. A session that has set none gets every log.

Spec: 2025-11-25 server/utilities/logging.
"""

from collections.abc import Callable

from msgspec import Raw

from proxy.protocol.changes import log_level_of
from proxy.protocol.envelope import LOG_LEVELS, reaches
from proxy.protocol.jsontext import encode
from proxy.protocol.messages import Response
from proxy.sessions.shared.port import Port

SET_LEVEL = "logging/setLevel"

Ask = Callable[[str, Raw, Callable[[Response], None] | None, Port | None], None]
"""Asks the child something: a method, its `params`, who gets the answer, and which session waits for it."""


class Levels:
    """The log levels of the sessions of one child.

    Args:
        ask: Asks the child.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._levels: dict[Port, str | None] = {}
        self._told: str | None = None  # what the child was told last; None if nothing, so that its own way holds

    def join(self, port: Port) -> None:
        """A session has come; it has set no level."""
        self._levels[port] = None
        self._adjust()

    def of(self, port: Port) -> str | None:
        """The level that a session has set; None if it has set none."""
        return self._levels.get(port)

    def adopt(self, port: Port, level: str | None) -> None:
        """A session comes from another process, with its level."""
        self._levels[port] = level
        if level is not None and self._told is None:
            self._tell(None, None)
        else:
            self._adjust()

    def leave(self, port: Port) -> None:
        """A session has gone."""
        self._levels.pop(port, None)
        self._adjust()

    def set(self, port: Port, port_id: int, params: Raw | None) -> None:
        """A session sets its level, and is answered when the child has set its own.

        One that is no level is refused here: a child that takes it for one would set it for all.
        """
        level = log_level_of(params)
        if level is None:
            port.refuse(port_id, -32602, "Invalid params: level")
            return
        level_before, told_before = self._levels.get(port), self._told
        self._levels[port] = level
        port.waiting.add(port_id)

        def answered(response: Response) -> None:
            if response.is_error:
                self._told = told_before
                if self._levels.get(port) == level:
                    self._levels[port] = level_before
            port.answer_waiting(port_id, response.members)

        self._tell(answered, port)

    def wants(self, port: Port, params: Raw | None) -> bool:
        """Whether a session gets a log message with these `params`."""
        own, level = self._levels.get(port), log_level_of(params)
        return own is None or level is None or reaches(level, own)

    @property
    def _wanted(self) -> str:
        return min((level or LOG_LEVELS[0] for level in self._levels.values()), key=LOG_LEVELS.index)

    def _adjust(self) -> None:
        if self._levels and self._told is not None and self._wanted != self._told:
            self._tell(None, None)

    def _tell(self, on_answer: Callable[[Response], None] | None, port: Port | None) -> None:
        self._told = self._wanted
        self._ask(SET_LEVEL, Raw(encode({"level": self._told})), on_answer, port)
