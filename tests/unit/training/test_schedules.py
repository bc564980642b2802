"""Learning-rate schedules: their formulas, and what they refuse."""

import math

import pytest

import ecgfm
from ecgfm.training import Fixed, Step, TriStage
from ecgfm.training.schedules import make_schedule


def rates(schedule, updates, epoch=1):
    return [schedule(u, epoch) for u in range(updates)]


def test_fixed():
    assert rates(Fixed(1e-3), 3) == [1e-3] * 3
    assert rates(Fixed(1.0, warmup_updates=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_fixed_by_epoch():
    schedule = Fixed([3.0, 2.0], force_anneal=3, lr_shrink=0.5)
    assert [schedule(9, epoch) for epoch in (1, 2, 3, 4)] == [3.0, 2.0, 1.0, 0.5]
    assert [Fixed([3.0, 2.0])(9, epoch) for epoch in (1, 2, 3)] == [3.0, 2.0, 2.0]
    warming = Fixed([4.0, 2.0], warmup_updates=4)
    assert (warming(1, 1), warming(1, 2)) == (2.0, 1.0)


def test_tri_stage():
    schedule = TriStage(1.0, warmup_steps=4, hold_steps=2, decay_steps=2, init_lr_scale=0.2, final_lr_scale=0.25)
    expected = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 0.5, 0.25, 0.25, 0.25]
    assert rates(schedule, 11) == pytest.approx(expected, rel=1e-12)


def test_tri_stage_by_ratio():
    schedule = TriStage(1.0, phase_ratio=(0.4, 0.2, 0.4), max_update=10, init_lr_scale=0.5, final_lr_scale=0.5)
    assert (schedule.warmup_steps, schedule.hold_steps, schedule.decay_steps) == (4, 2, 4)
    assert schedule(0) == 0.5 and schedule(5) == 1.0 and schedule(8) == pytest.approx(math.sqrt(0.5))


def test_tri_stage_without_a_stage():
    assert rates(TriStage(1.0, hold_steps=2, final_lr_scale=0.1), 4) == [1.0, 1.0, 0.1, 0.1]
    assert rates(TriStage(1.0, final_lr_scale=0.1), 2) == [0.1, 0.1]


def test_step():
    schedule = Step(1.0, warmup_updates=2, warmup_init_lr=0.5, min_lr=0.2, lr_decay=0.5, lr_deacy_period=2)
    assert rates(schedule, 9) == [0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2]
    assert Step(1.0, warmup_updates=2, min_lr=0.2)(0) == 0.2  # without warmup_init_lr it starts from min_lr


def test_made_from_values():
    assert make_schedule(0.5) == Fixed(0.5) and make_schedule([1, 2])(0, 2) == 2.0
    assert make_schedule({"lr": 1.0}) == Fixed(1.0)
    assert make_schedule({"_name": "tri_stage", "lr": [1.0], "hold_steps": 3}) == TriStage(1.0, hold_steps=3)
    assert make_schedule({"_name": "step", "lr": 1.0}) == Step(1.0)

    def own(updates, epoch):
        return 1.0

    assert make_schedule(own) is own


def test_a_dict_is_not_changed():
    given = {"_name": "fixed", "lr": [1.0]}
    make_schedule(given)
    assert given == {"_name": "fixed", "lr": [1.0]}


@pytest.mark.parametrize(
    "value, field",
    [
        ("fast", "lr"),
        (None, "lr"),
        ([], "lr"),
        (math.nan, "lr"),
        (math.inf, "lr"),
        (-1e-3, "lr"),
        ([1e-3, "x"], "lr"),
        ({"_name": "cosine", "lr": 1.0}, "lr_scheduler"),
        ({"_name": "fixed", "lr": 1.0, "warmup": 3}, "lr_scheduler.warmup"),
        ({"_name": "fixed", "lr": 1.0, "warmup_updates": -1}, "warmup_updates"),
        ({"_name": "fixed", "lr": 1.0, "warmup_updates": "ten"}, "warmup_updates"),
        ({"_name": "tri_stage", "lr": [1.0, 2.0]}, "lr"),
        ({"_name": "tri_stage", "lr": 1.0, "phase_ratio": (0.5, 0.5), "max_update": 9}, "phase_ratio"),
        ({"_name": "tri_stage", "lr": 1.0, "phase_ratio": (0.5, 0.5, 0.5), "max_update": 9}, "phase_ratio"),
        ({"_name": "tri_stage", "lr": 1.0, "phase_ratio": (0.5, 0.2, 0.3)}, "max_update"),
        ({"_name": "tri_stage", "lr": 1.0, "final_lr_scale": 0.0}, "final_lr_scale"),
        ({"_name": "tri_stage", "lr": 1.0, "hold_steps": math.inf}, "hold_steps"),
        ({"_name": "step", "lr": 1.0, "min_lr": 1.0}, "lr"),
        ({"_name": "step", "lr": 1.0, "lr_decay": 1.5}, "lr_decay"),
        ({"_name": "step", "lr": 1.0, "lr_decay": 0}, "lr_decay"),
        ({"_name": "step", "lr": 1.0, "lr_deacy_period": 0}, "lr_deacy_period"),
    ],
)
def test_refused(value, field):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        make_schedule(value)
    assert info.value.field == field
