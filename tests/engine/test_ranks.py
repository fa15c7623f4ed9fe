"""What the processes of a training tell each other: little, in the same order, and in time."""

import json

import pytest

from helpers import REPOSITORY

pytestmark = pytest.mark.slow
BRANCHES = ["SCNet", "HTC"]
ONE_STEP = ["all_reduce", "all_gather"]  # the numbers of samples; the losses and the notice


@pytest.fixture(scope="module")
def ranks(environment, run_forked, tmp_path_factory):
    """What each of two processes saw, see ranks.py."""
    output = tmp_path_factory.mktemp("ranks")
    run_forked(REPOSITORY / "tests/engine/ranks.py", output, env=environment)
    return [json.loads((output / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_step_has_two_collectives_in_the_same_order(ranks, branch):
    """Whatever the images of a process hold; gradients are exchanged beside them, by DDP."""
    for rank in ranks:
        assert rank[branch]["collectives"] == [ONE_STEP] * 2


@pytest.mark.parametrize("branch", BRANCHES)
def test_what_is_logged_is_the_mean_over_the_processes(ranks, branch):
    one, two = (rank[branch]["losses"][-1] for rank in ranks)
    logged = ranks[0][branch]["logged"]
    assert one.keys() == two.keys() and len(one) > 8
    for name, value in one.items():
        assert logged[name] == pytest.approx((value + two[name]) / 2, rel=1e-6), name
    total = sum(one.values()) + sum(two.values())
    assert logged["total_loss"] == pytest.approx(total / 2, rel=1e-6)
    waits = [rank[branch]["logged"]["rank_data_time"] for rank in ranks]
    assert logged["data_time"] == pytest.approx(max(waits), rel=1e-6)
    assert one["loss_sem_seg"] > 0 == two["loss_sem_seg"]


@pytest.mark.parametrize("branch", BRANCHES)
def test_only_the_main_process_makes_pictures(ranks, branch):
    assert ranks[0][branch]["pictures"][0] > 0
    assert ranks[1][branch]["pictures"] == [0] * 4


@pytest.mark.parametrize(
    "case, words, images",
    [
        ("loss", "loss_sem_seg is nan at iteration 1", 1),
        ("proposals", "Predicted boxes or scores contain Inf/NaN at iteration 1", 2),
    ],
)
def test_a_failure_of_one_process_ends_all_in_the_same_step(ranks, case, words, images):
    one, two = (rank[case] for rank in ranks)
    assert one["message"] == two["message"]
    assert words in one["message"]
    named = two["images"][0]  # of the process that had it, in the first part of its step
    assert len(two["images"]) == images
    assert named in one["message"] and not set(one["images"]) & set(one["message"].split())
    assert one["iteration"] == two["iteration"] == 1
    # The weights are those of the first step, and whole.
    assert one["backward passes"] == two["backward passes"] == 1
    assert one["finite"] and two["finite"]


def test_gradients_are_not_copied_for_the_exchange(ranks):
    assert ranks[0]["SCNet"]["views"] and ranks[1]["SCNet"]["views"]


def test_a_signal_to_one_process_stops_all_after_the_same_step(ranks):
    assert [rank["stopped"] for rank in ranks] == [{"signal": 15, "iteration": 1}] * 2
