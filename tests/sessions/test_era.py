"""What is remembered of a server's eras."""

import logging
from typing import Literal

import pytest

from proxy.sessions.era import ServerEra


def test_nothing_is_known_of_a_server_that_was_never_asked() -> None:
    era = ServerEra("auto")

    assert (era.speaks_modern, era.speaks_legacy) == (None, None)
    unknown = {"spoken": None, "how": "not known yet"}
    assert era.report() == {"configured": "auto", "modern": unknown, "legacy": unknown}


def test_the_two_facts_are_learned_apart() -> None:
    era = ServerEra("auto")

    era.learned_modern(True, "it answered server/discover")
    assert (era.speaks_modern, era.speaks_legacy) == (True, None)

    era.learned_legacy(True, "it answered initialize")
    assert (era.speaks_modern, era.speaks_legacy) == (True, True)
    assert era.report() == {
        "configured": "auto",
        "modern": {"spoken": True, "how": "it answered server/discover"},
        "legacy": {"spoken": True, "how": "it answered initialize"},
    }


def test_what_is_learned_last_holds() -> None:
    era = ServerEra("auto")

    era.learned_modern(False, "it did not answer in time")
    era.learned_modern(True, "it answered late")

    assert era.speaks_modern is True
    assert era.report()["modern"]["how"] == "it answered late"


def test_hearing_the_same_again_keeps_how_it_was_first_known() -> None:
    era = ServerEra("auto")

    era.learned_legacy(False, "first")
    era.learned_legacy(False, "again")

    assert era.report()["legacy"] == {"spoken": False, "how": "first"}


def test_what_has_led_nowhere_is_found_out_again() -> None:
    era, configured = ServerEra("auto"), ServerEra("modern")
    era.learned_modern(True, "it answered server/discover")
    era.learned_legacy(False, "it refused initialize")

    era.forget()
    configured.forget()

    assert (era.speaks_modern, era.speaks_legacy) == (None, None)
    assert (configured.speaks_modern, configured.speaks_legacy) == (True, False)


@pytest.mark.parametrize(("configured", "modern"), [("modern", True), ("legacy", False)])
def test_what_is_configured_cannot_be_unlearned(configured: Literal["modern", "legacy"], modern: bool) -> None:
    era = ServerEra(configured)

    era.learned_modern(not modern, "a child said so")
    era.learned_legacy(modern, "a child said so")

    assert (era.speaks_modern, era.speaks_legacy) == (modern, not modern)
    assert era.report()["modern"] == {"spoken": modern, "how": "configured"}


def test_a_change_of_mind_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    era = ServerEra("auto")

    era.learned_modern(False, "silence")
    era.learned_modern(False, "silence")
    era.learned_modern(True, "a late answer")

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "server does not speak the modern era"),
        ("WARNING", "server speaks the modern era"),
    ]
