"""What does a fault cost the daemon?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20


class Cost:
    """What the daemon needed in a block; known when the block is left.

    Attributes:
        cpu_seconds: Of all its threads.
        peak_bytes: How far its resident memory rose above what it was at the beginning.
        kept_bytes: How much of that it had not given back at the end.
    """

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self.peak_bytes = 0
        self.kept_bytes = 0


@contextmanager
def cost_to(pid: int) -> Iterator[Cost]:
    """Measure a process while the block is open."""
    cost = Cost()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now. Spec: proc_pid_clear_refs(5)
    cpu, memory = _cpu_seconds(pid), _memory_bytes(pid, "VmRSS")
    yield cost
    cost.cpu_seconds = _cpu_seconds(pid) - cpu
    cost.peak_bytes = _memory_bytes(pid, "VmHWM") - memory
    cost.kept_bytes = _memory_bytes(pid, "VmRSS") - memory


def _memory_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} of {pid}")


def _cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
