"""A short soak: what `make soak` does for ten minutes, for some seconds. See `tests/soak`."""

from tests.soak.modes import MODES
from tests.soak.report import text_of
from tests.soak.run import Plan, soak


async def test_random_clients_and_faults_leave_nothing_behind() -> None:
    plan = Plan(seconds=6, clients=8, seed=1, warm_up_share=0)

    reports = await soak(plan, tell=lambda line: None)

    for report in reports:
        assert report.is_good, text_of(report)
        assert report.ledger.done, text_of(report)
    assert len(reports) == len(MODES)
    assert sum(report.ledger.outcomes.total() for report in reports) >= 30


def test_every_scenario_has_a_name_of_its_own() -> None:
    for mode in MODES:
        assert len({scenario.name for scenario in mode.scenarios}) == len(mode.scenarios)
