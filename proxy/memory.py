"""Where does memory go that was freed?"""

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads of this process share one heap. For the daemon, before it starts a thread; glibc only.

    Otherwise each thread gets a heap of its own, whose free end is never given back: after a burst of large bodies,
    which are parsed in threads, a hundred megabytes would stay for good. Threads that hold Python's lock don't contend.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return  # another C library
