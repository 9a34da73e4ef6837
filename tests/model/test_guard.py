"""Steps that must not be taken."""

import math

import pytest

from csmoe_model.errors import TrainingError
from csmoe_model.train.config import GuardConfig
from csmoe_model.train.guard import StepGuard

ERRORS = [("1U_2R", 0.4), ("3U_4R", 9.0), ("5U_6R", 0.5), ("7U_8R", 2.0)]


def guard_of(spike=5.0, patience=3, losses=20):
    guard = StepGuard(GuardConfig(spike=spike, patience=patience))
    assert all(guard.admits(2.0, 1.0) for k in range(losses))
    return guard


@pytest.mark.parametrize(
    ("loss", "norm", "admitted"),
    [
        (2.5, 1.0, True),
        (9.9, 1.0, True),
        (10.1, 1.0, False),
        (math.nan, 1.0, False),
        (math.inf, 1.0, False),
        (2.5, math.nan, False),
        (2.5, math.inf, False),
    ],
)
def test_what_is_admitted(loss, norm, admitted):
    assert guard_of().admits(loss, norm) is admitted


def test_a_loss_is_a_spike_only_when_the_usual_one_is_known():
    guard = guard_of(losses=19)
    assert guard.admits(1000.0, 1.0)
    assert not guard.admits(math.nan, 1.0)


def test_what_was_left_out_is_not_usual():
    guard = guard_of()
    before = list(guard.recent)
    guard.admits(100.0, 1.0)
    assert guard.recent == before


def test_the_usual_loss_is_of_the_recent_steps():
    guard = guard_of(losses=500)
    for _ in range(101):
        guard.admits(10.0, 1.0)
    assert guard.recent == [10.0] * 101
    assert guard.admits(50.0, 1.0)


def test_a_run_gives_up_after_so_many_steps_in_a_row():
    guard = guard_of(patience=3)
    for _ in range(2):
        assert not guard.admits(math.nan, 1.0)
        guard.report(7, math.nan, ERRORS)
    assert guard.admits(2.0, 1.0)  # one that is taken begins the count anew
    for _ in range(2):
        assert not guard.admits(math.nan, 1.0)
        guard.report(8, math.nan, ERRORS)
    assert not guard.admits(math.nan, 1.0)
    with pytest.raises(TrainingError, match=r"step 9: loss nan where 2 is usual, step 3 in a row .* 3U_4R \(9\)"):
        guard.report(9, math.nan, ERRORS)


def test_the_count_goes_on_after_a_resume():
    config = GuardConfig(patience=3)
    guard = StepGuard(config, [2.0] * 30, 2)
    assert not guard.admits(math.nan, 1.0)
    with pytest.raises(TrainingError):
        guard.report(9, math.nan, ERRORS)


def test_places_that_are_not_finite_are_named_alone():
    guard = guard_of()
    guard.admits(math.nan, 1.0)
    line = guard.report(4, math.nan, [*ERRORS, ("9U_9R", math.nan)])
    assert line.endswith("are 9U_9R (nan)")


def test_the_largest_errors_come_first():
    guard = guard_of()
    guard.admits(99.0, 1.0)
    assert guard.report(4, 99.0, ERRORS).endswith("are 3U_4R (9), 7U_8R (2), 5U_6R (0.5)")
