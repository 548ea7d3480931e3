"""What does the core tell the outside?"""

from collections import Counter


class Counts:
    """How often something happened that an operator should be able to see. Shown by `/health`.

    Names are `what.why`, as `dropped.no_call`; they are few and fixed, so this is bounded.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count it."""
        self._counts[name] += number

    def snapshot(self) -> dict[str, int]:
        """All counts so far, by name."""
        return dict(sorted(self._counts.items()))
