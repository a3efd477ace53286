"""What is promised under faults, on SQLite (the numbers are those of GUARANTEES). Each test reads the trials of one scenario: the limits
stand beside what is measured, in the scenario; here stands that it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.scenarios import OF_SERVERS, SCENARIOS
from tests.faults.trial import Trial, tried

Trials = Sequence[Trial]


@pytest.mark.trial("none")
def test_g2_without_faults_every_job_runs_once(trials: Trials) -> None:
    assert [(trial.figures["lost"], trial.figures["twice"]) for trial in trials] == [(0, 0)]


@pytest.mark.trial("kill9", seeds=3)
def test_g1_g2_killed_workers_lose_nothing_and_do_little_twice(trials: Trials) -> None:
    for trial in trials:
        assert trial.figures["lost"] == 0
        assert trial.figures["kills"] >= 5
        assert trial.figures["twice"] <= 4 * trial.figures["kills"]


@pytest.mark.trial("orphans")
def test_g3_the_jobs_of_a_dead_process_begin_elsewhere_at_once_whatever_the_lease(trials: Trials) -> None:
    assert {"recovery_1_s", "recovery_200_s"} <= trials[0].figures.keys()


@pytest.mark.trial("term")
def test_g4_an_orderly_stop_finishes_or_returns_every_job(trials: Trials) -> None:
    for trial in trials:
        assert (trial.figures["lost"], trial.figures["twice"], trial.figures["exit_code"]) == (0, 0, 0)
        assert {"exit_s", "exit_long_s", "exit_second_s"} <= trial.figures.keys()


@pytest.mark.trial("api_kill")
def test_g5_every_2xx_is_exactly_one_job(trials: Trials) -> None:
    for trial in trials:
        assert (trial.figures["lost"], trial.figures["jobs_per_2xx"]) == (0, 1)
        assert trial.figures["repeats"] > 0


@pytest.mark.trial("blocked_loop")
def test_g9_a_job_that_blocks_the_loop_is_named_and_not_taken_for_dead(trials: Trials) -> None:
    assert trials[0].figures["twice"] == 0


@pytest.mark.trial("zombie")
def test_g10_a_process_that_comes_back_does_no_harm(trials: Trials) -> None:
    assert trials[0].figures["lost"] == 0


@pytest.mark.trial("poison")
def test_g11_a_job_that_kills_its_processes_stops_and_harms_nobody(trials: Trials) -> None:
    assert trials[0].figures["starts"] <= 4
    assert trials[0].figures["lost"] == 0


@pytest.mark.trial("hung")
def test_g12_a_hung_job_fails_and_frees_its_slot(trials: Trials) -> None:
    assert {"failed_after_s", "slot_free_hung_s", "slot_free_stuck_s"} <= trials[0].figures.keys()


@pytest.mark.trial("disk_full")
def test_g13_a_full_disk_refuses_new_jobs_and_keeps_reports(trials: Trials) -> None:
    assert trials[0].figures["refused_with"] == [507]
    assert trials[0].figures["reported_while_full"] >= 4


@pytest.mark.trial("locked")
def test_g14_a_database_that_is_held_is_waited_for(trials: Trials) -> None:
    assert trials[0].figures["answers"] == [503]


@pytest.mark.trial("clock")
def test_g15_a_clock_that_steps_moves_no_lease_and_fires_no_slot_twice(trials: Trials) -> None:
    assert trials[0].figures["twice"] == 0


@pytest.mark.trial("priorities")
def test_g16_claims_follow_the_priorities(trials: Trials) -> None:
    assert trials[0].figures["claimed_early"] == 0


@pytest.mark.trial("scheduler")
def test_g17_every_slot_fires_exactly_once_among_processes_that_die(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"]) == (0, 0)
    assert trials[0].figures["kills"] >= 2


@pytest.mark.trial("shared_file")
def test_g18_processes_share_one_file_fairly(trials: Trials) -> None:
    assert {"third_p99_ms", "start_p99_ms"} <= trials[0].figures.keys()


@pytest.mark.trial("uncertain_commit")
def test_g19_a_commit_of_which_nobody_knows_does_no_harm(trials: Trials) -> None:
    assert min(trials[0].figures["faults"].values()) > 0


@pytest.mark.trial("leak")
def test_g20_opening_and_closing_leaves_nothing_behind(trials: Trials) -> None:
    assert trials[0].figures["cycles"] > 100


@pytest.mark.trial("soak")
def test_g20_a_life_among_processes_that_die_leaves_a_process_as_it_was(trials: Trials) -> None:
    assert trials[0].figures["lost"] == 0


def test_every_scenario_has_its_test() -> None:
    assert sorted(tried(globals())) == sorted(SCENARIOS.keys() - OF_SERVERS)
