"""Which settings are said to have no effect?"""

from typing import Any

import pytest

from proxy.config.ineffective import RULES, ineffective, warnings
from proxy.config.servers import servers_of
from proxy.settings import Settings

IN_VAIN: dict[str, dict[str, Any]] = {
    "--pool-max-age": {"pool_max_age_seconds": 60},
    "--max-respawns": {"max_respawns": 2},
    "--max-recoverable-sessions": {"max_recoverable_sessions": 2},
    "--recovery-age": {"recovery_age_seconds": 60},
    "--recover-sessions": {"recover_sessions": True, "isolation": "request"},
    "--shared-server-requests": {"shared_server_requests": True},
    "--reuse-children": {"reuse_children": True, "modern_isolation": "shared"},
    "--max-reused-children": {"max_reused_children": 2},
    "--child-max-calls": {"child_max_calls": 2, "protocol_version": "2025-11-25"},
    "--child-max-age": {"child_max_age_seconds": 60, "protocol_version": "2025-11-25"},
    "--modern-isolation": {"modern_isolation": "shared", "protocol_version": "2025-11-25"},
    "--modern-commit-after": {"modern_commit_after_seconds": 1, "protocol_version": "2025-11-25"},
    "--lease-wait": {"lease_wait_seconds": 1, "protocol_version": "2025-11-25"},
    "--max-continuations": {"max_continuations": 1, "protocol_version": "2025-11-25"},
    "--max-listens": {"max_listens": 1, "protocol_version": "2025-11-25"},
    "--probe-timeout": {"probe_timeout_seconds": 1, "protocol_version": "2025-11-25"},
    "--on-child-exit respawn": {"on_child_exit": "respawn", "isolation": "request"},
}
NOT_IN_VAIN: list[dict[str, Any]] = [
    {},
    {"isolation": "request"},
    {"protocol_version": "2025-11-25"},
    {"pool_size": 1, "pool_max_age_seconds": 60},
    {"on_child_exit": "respawn", "max_respawns": 2},
    {"recover_sessions": True, "recovery_age_seconds": 60, "max_recoverable_sessions": 2},
    {"isolation": "shared", "shared_server_requests": True},
    {"reuse_children": True, "max_reused_children": 2},
    {"isolation": "request", "reuse_children": True, "child_max_calls": 5, "protocol_version": "2025-11-25"},
    {"child_max_calls": 5, "child_max_age_seconds": 60, "modern_isolation": "shared", "max_listens": 1},
    {"child_max_calls": 5, "isolation": "shared", "protocol_version": "2025-11-25"},
]


@pytest.mark.parametrize("option", IN_VAIN)
def test_a_setting_that_was_changed_in_vain_is_named(option: str) -> None:
    ((_, said),) = ineffective(Settings(command="x", **IN_VAIN[option]))

    assert said.startswith(f"{option} has no effect with")


@pytest.mark.parametrize("changed", NOT_IN_VAIN)
def test_nothing_is_said_of_settings_that_have_an_effect(changed: dict[str, Any]) -> None:
    assert list(ineffective(Settings(command="x", **changed))) == []


def test_every_rule_has_a_case() -> None:
    fields = {field for rule in RULES for field in rule.fields}

    assert fields <= {field for changed in IN_VAIN.values() for field in changed}


def test_it_is_said_once_for_all_servers_and_for_one_only_of_its_own_settings() -> None:
    given = Settings(command="x", max_respawns=2, recovery_age_seconds=60)
    one = Settings(command="x", max_respawns=2, recovery_age_seconds=60, on_child_exit="respawn")
    other = Settings(command="x", max_respawns=2, recovery_age_seconds=60, max_reused_children=3)

    assert list(warnings({"one": one, "other": other}, given)) == [
        "--recovery-age has no effect without --recover-sessions",
        "server 'other': --max-reused-children has no effect without --reuse-children",
    ]


def test_it_is_one_of_the_warnings() -> None:
    assert list(servers_of(Settings(command="x", max_respawns=2), None).warnings) == [
        "--max-respawns has no effect without --on-child-exit respawn"
    ]
