"""How many descriptors may connections have?

Children need some, too: what they may need is kept for them, whatever connects.
"""

import logging
import resource

logger = logging.getLogger(__name__)

OWN = 64
"""Of the daemon itself: event loop, guardian, log, listeners, connections that are told that they are too many."""

PER_CHILD = 5
"""Three pipes and a pidfd; during its start a few more."""


def connections_within_limits(wanted: int, *, max_children: int) -> int:
    """How many connections fit beside the children into RLIMIT_NOFILE, which is raised as far as that needs and it may.

    Returns `wanted`, or less where the hard limit is too low for both: then the children keep at most half of it.
    """
    needed = wanted + PER_CHILD * max_children + OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < needed:
        raised = needed if hard == unlimited else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError):  # not below the system's own limit, on macOS
            logger.debug("= descriptors not raised", extra={"to": raised})
    if soft == unlimited or soft >= needed:
        return wanted
    left = max(16, soft - OWN)
    connections = left - min(PER_CHILD * max_children, left // 2)
    logger.warning(
        "few descriptors: fewer connections are let in; raise the limit (ulimit -n)",
        extra={"descriptors": soft, "needed": needed, "connections": connections},
    )
    return connections
