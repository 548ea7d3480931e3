"""What holds for every test, however it was started."""

import signal

import pytest

# Whoever runs us under nohup, or in a worker of pytest-xdist, has these ignored, and what we start inherits that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest first: what they leave of the time is filled with the others."""
    items.sort(key=lambda item: "interop" not in item.keywords)
