"""What is promised under faults, on a Redis server of the trial's own (the numbers are those of GUARANTEES).

Each limit stands beside what is measured, in the scenario; here stands that it was measured. What takes long, or is no
other promise than on SQLite, runs only in the long form.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from tests.faults.scenarios import OF_FILES, SCENARIOS
from tests.faults.trial import Trial, tried

Trials = Sequence[Trial]
on_redis = partial(pytest.mark.trial, store="redis")


@on_redis("fleet")
def test_a_fleet_under_fire_completes_each_job_once_and_records_each_slot_once(trials: Trials) -> None:
    figures = trials[0].figures
    assert (figures["lost"], figures["exit_code"]) == (0, 0)
    assert figures["kills"] >= 4 and figures["audits"] >= 4 and figures["fired"] > 0


@on_redis("server_killed")
def test_g6_a_server_that_dies_twice_loses_and_doubles_nothing(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"], trials[0].figures["kills"]) == (0, 0, 2)


@on_redis("server_absent", only_long=True)
def test_g6_a_server_that_is_absent_at_the_start_is_waited_for(trials: Trials) -> None:
    assert {"answered_s", "recovery_s"} <= trials[0].figures.keys()


@on_redis("server_paused")
def test_g7_what_runs_is_stopped_before_its_lease_ends_and_runs_again(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"]) == (0, 0)
    assert "stopped_s" in trials[0].figures


@on_redis("line_cut")
def test_g19_a_call_or_an_answer_that_is_lost_does_no_harm(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"]) == (0, 0)
    assert min(trials[0].figures["faults"].values()) > 0


@on_redis("failover", only_long=True)
def test_a_failover_to_a_replica_that_lags_loses_nothing_that_it_confirmed(trials: Trials) -> None:
    assert trials[0].figures["lost"] == 0
    assert trials[0].figures["lost_without_replicas"] > 0


@on_redis("kill9", only_long=True)  # the fleet is killed in the short form
def test_g1_g2_killed_workers_lose_nothing_and_do_little_twice(trials: Trials) -> None:
    assert trials[0].figures["lost"] == 0
    assert trials[0].figures["kills"] >= 5


@on_redis("zombie")
def test_g10_a_process_that_comes_back_is_refused(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["late_reports_refused"]) == (0, 4)


@on_redis("none", only_long=True)
def test_g2_without_faults_every_job_runs_once(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"]) == (0, 0)


@on_redis("orphans", only_long=True)
def test_g3_the_jobs_of_a_dead_process_begin_elsewhere_after_its_lease(trials: Trials) -> None:
    assert {"recovery_1_s", "recovery_200_s"} <= trials[0].figures.keys()


@on_redis("term", only_long=True)
def test_g4_an_orderly_stop_finishes_or_returns_every_job(trials: Trials) -> None:
    assert {"exit_s", "exit_long_s", "exit_second_s"} <= trials[0].figures.keys()


@on_redis("api_kill", only_long=True)
def test_g5_every_2xx_is_exactly_one_job(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["jobs_per_2xx"]) == (0, 1)


@on_redis("blocked_loop", only_long=True)
def test_g9_a_job_that_blocks_the_loop_is_named_and_not_taken_for_dead(trials: Trials) -> None:
    assert trials[0].figures["twice"] == 0


@on_redis("poison", only_long=True)
def test_g11_a_job_that_kills_its_processes_stops_and_harms_nobody(trials: Trials) -> None:
    assert trials[0].figures["starts"] <= 4
    assert trials[0].figures["lost"] == 0


@on_redis("hung", only_long=True)
def test_g12_a_hung_job_fails_and_frees_its_slot(trials: Trials) -> None:
    assert {"failed_after_s", "slot_free_hung_s", "slot_free_stuck_s"} <= trials[0].figures.keys()


@on_redis("clock", only_long=True)
def test_g15_a_clock_that_steps_moves_no_lease_and_fires_no_slot_twice(trials: Trials) -> None:
    assert trials[0].figures["twice"] == 0


@on_redis("priorities", only_long=True)
def test_g16_claims_follow_the_priorities(trials: Trials) -> None:
    assert trials[0].figures["claimed_early"] == 0


@on_redis("scheduler", only_long=True)
def test_g17_every_slot_fires_exactly_once_among_processes_that_die(trials: Trials) -> None:
    assert (trials[0].figures["lost"], trials[0].figures["twice"]) == (0, 0)


@on_redis("uncertain_commit", only_long=True)
def test_g19_a_commit_of_which_nobody_knows_does_no_harm(trials: Trials) -> None:
    assert min(trials[0].figures["faults"].values()) > 0


@on_redis("leak", only_long=True)
def test_g20_opening_and_closing_leaves_nothing_behind(trials: Trials) -> None:
    assert trials[0].figures["cycles"] > 100


@on_redis("soak", only_long=True)
def test_g20_a_life_among_processes_that_die_leaves_a_process_as_it_was(trials: Trials) -> None:
    assert trials[0].figures["lost"] == 0


def test_every_scenario_has_its_test() -> None:
    assert sorted(tried(globals())) == sorted(SCENARIOS.keys() - OF_FILES)
