"""What follows when a child exits by itself?"""

import logging
from collections.abc import Callable
from typing import Literal

logger = logging.getLogger(__name__)

OnChildExit = Literal["end", "respawn", "exit"]
"""Its session ends; another child takes its place; everything ends with its exit code."""


class Exits:
    """What the operator of one server wants then.

    Args:
        policy: Which of the three.
        name: The server's, for the log.
        on_exit: With `exit`: gets the return code of the child, as in `subprocess`.
    """

    def __init__(
        self, policy: OnChildExit = "end", *, name: str = "", on_exit: Callable[[int], None] = lambda _: None
    ) -> None:
        self.policy = policy
        self._name = name
        self._on_exit = on_exit

    @property
    def respawns(self) -> bool:
        """Whether a session of the handshake era outlives its child."""
        return self.policy == "respawn"

    def exited(self, returncode: int | None, *, pid: int | None) -> None:
        """A child has exited that nobody had ended; None if it has only closed a pipe, which is no exit."""
        if self.policy == "exit" and returncode is not None:
            logger.error(
                "a child has exited, and everything ends with it (--on-child-exit exit)",
                extra={"server": self._name, "pid": pid, "returncode": returncode},
            )
            self._on_exit(returncode)
