"""Whose tasks are whose."""

import pytest

from proxy.errors import AnswerUnusable, TaskUnknown
from proxy.sessions.modern import tasks as tasks_module
from proxy.sessions.modern.tasks import Task, Tasks


class Known:
    """Tasks whose clock a test moves; a child is a text here."""

    def __init__(self, seconds: float = 600.0) -> None:
        self.now = 0.0
        self.forgotten: list[str] = []

        def forgotten(task: Task[str]) -> None:
            self.forgotten.append(task.task_id)

        self.all: Tasks[str] = Tasks(timeout_seconds=seconds, clock=lambda: self.now, on_forgotten=forgotten)

    def is_known(self, task_id: str | None, principal: str = "ann") -> bool:
        try:
            self.all.find(task_id, principal=principal)
        except TaskUnknown:
            return False
        return True


def test_a_task_is_its_clients_alone() -> None:
    """HM-32: another client is told what one is told that has made it up."""
    known = Known()
    known.all.add("1", principal="ann", child="a")

    assert known.all.find("1", principal="ann").child == "a"
    assert [known.is_known(task_id, who) for task_id, who in (("1", "bob"), ("2", "ann"), ("", "ann"))] == [False] * 3
    assert not known.is_known(None)
    owns = [
        known.all.owns("1", principal=who, child=child) for who, child in (("ann", "a"), ("ann", "b"), ("bob", "a"))
    ]
    assert owns == [True, False, False]


def test_two_clients_may_have_tasks_of_one_id() -> None:
    """Two children count from one, say."""
    known = Known()
    known.all.add("1", principal="ann", child="a")
    known.all.add("1", principal="bob", child="b")

    assert known.all.find("1", principal="ann").child == "a"
    assert known.all.find("1", principal="bob").child == "b"


def test_a_task_is_remembered_while_its_client_asks_for_it() -> None:
    known = Known(seconds=10)
    known.all.add("asked", principal="ann", child="a")
    known.all.add("left", principal="ann", child="a")
    known.now = 9
    assert known.is_known("asked")
    known.now = 10.5
    known.all.expire(known.now)

    assert known.forgotten == ["left"]
    assert (known.is_known("asked"), known.is_known("left"), len(known.all)) == (True, False, 1)


def test_so_many_are_remembered_and_the_one_asked_for_last_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "MAX_TASKS", 3)
    known = Known()
    for name in "abc":
        known.all.add(name, principal="ann", child="x")
    assert known.is_known("a")
    known.all.add("d", principal="ann", child="x")

    assert known.forgotten == ["b"]
    assert len(known.all) == 3


def test_one_given_out_again_is_one() -> None:
    known = Known()
    known.all.add("1", principal="ann", child="a")
    known.all.add("1", principal="ann", child="a")

    assert (len(known.all), known.forgotten) == (1, ["1"])


def test_of_two_children_that_give_out_the_same_id_the_second_is_refused() -> None:
    """Those who share a name are not told apart: one would be given the other's task."""
    known = Known()
    known.all.add("1", principal="strangers", child="a")

    with pytest.raises(AnswerUnusable):
        known.all.add("1", principal="strangers", child="b")

    assert known.all.find("1", principal="strangers").child == "a"
    assert known.forgotten == []


def test_a_child_that_is_gone_takes_its_tasks_with_it() -> None:
    known = Known()
    known.all.add("1", principal="ann", child="a")
    known.all.add("2", principal="ann", child="b")

    known.all.drop("a")

    assert (known.is_known("1"), known.is_known("2"), known.forgotten) == (False, True, [])


def test_strangers_get_an_id_that_nobody_guesses() -> None:
    """They go by one name, so the id alone tells whose a task is; and two children may count from one."""
    known = Known()
    ids = [known.all.add("1", principal="stranger", child=child, is_strangers=True) for child in "ab"]

    assert len({*ids, "1"}) == 3 and all(len(each) >= 32 for each in ids)
    assert not known.is_known("1", "stranger")
    found = [known.all.find(each, principal="stranger") for each in ids]
    assert [(task.child, task.inner_id) for task in found] == [("a", "1"), ("b", "1")]
