# room: reporting
"""The advice follows from what was measured."""

from dataclasses import replace

import pytest

from graft.reporting.report.advice import Advice, Facts, advise, as_lines
from graft.reporting.report.statistics import ClassFigures, Estimate

MISSED = ClassFigures("crack", 50, Estimate(0.9), Estimate(0.4), 0.55)

GOOD = Facts(
    accuracy=Estimate(0.9, 0.88, 0.92),
    majority=0.5,
    test_images=1000,
    ece=0.01,
    train_images=1100,
    class_counts=(500, 600),
    train_loss=0.2,
    val_loss=0.22,
    best_epoch=5,
    epochs=8,
)


@pytest.mark.parametrize(
    ("seen", "settings"),
    [
        ({"leaking": 2}, "data.keep_together"),
        ({"majority": 0.9}, "learning_rate=auto"),
        ({"ece": 0.2}, "calibrate=true"),
        ({"class_counts": (100, 600)}, "loss.class_weights=balanced"),
        ({"class_counts": (300, 600), "worst": MISSED}, "loss.class_weights=balanced"),
        ({"train_loss": 0.05, "val_loss": 0.5}, "augmentation=standard"),
        ({"train_loss": 0.05, "val_loss": 0.5, "best_epoch": 8}, "augmentation=standard freeze=true"),
        ({"train_loss": 0.05, "val_loss": 0.5, "heeds_freeze": False}, "augmentation=standard"),
        ({"train_loss": 0.05, "val_loss": 0.5, "only_head": True}, "head.solver=lbfgs"),
        ({"best_epoch": 8}, "trainer.max_epochs=16"),
        ({"best_epoch": 8, "accuracy": Estimate(1.0, 0.996, 1.0)}, "seed=1,2,3"),
        ({"only_head": True}, "recipe=auto time_budget=10m"),  # room: recipes
        ({"only_head": True, "can_be_solved": False}, "finetuning=lp_ft"),
        ({"only_head": True, "can_be_solved": False, "train_images": 2000}, "freeze=false"),
        ({"only_head": True, "train_images": 80}, "seed=1,2,3"),
        ({"worst": MISSED, "class_counts": (500, 500)}, ""),
        ({}, "seed=1,2,3"),
        ({"ece": 0.2, "is_calibrated": True}, "seed=1,2,3"),
        ({"class_counts": (100, 600), "is_balanced": True}, "seed=1,2,3"),
    ],
)
def test_each_finding_has_its_settings_and_no_other(seen: dict[str, object], settings: str) -> None:
    (advice,) = advise(replace(GOOD, **seen))  # type: ignore[arg-type]
    assert settings in advice.settings


def test_few_images_are_said_to_be_few() -> None:
    wide = replace(GOOD, accuracy=Estimate(0.9, 0.7, 1.0), test_images=10, class_counts=(20, 30))
    first, second = advise(wide)
    assert "10 test images leave the accuracy between 70.0 % and 100.0 %" in first.seen
    assert "20 training images" in second.seen
    (_, even) = advise(replace(wide, class_counts=(20, 20)))
    assert even.seen.startswith("A class has 20 training images. More images help")
    (grouped, _) = advise(replace(wide, test_groups=3))
    assert "10 test images of 3 groups" in grouped.seen
    assert "more groups narrow this" in grouped.seen


def test_a_class_that_is_missed_is_named_with_what_balanced_weights_are_expected_to_change() -> None:
    (advice,) = advise(replace(GOOD, class_counts=(300, 600), worst=MISSED, if_balanced=(0.7, 0.85)))
    assert "Recall of crack is only 40.0 %: 30 of 50 images are missed." in advice.seen
    assert "expect a recall of crack near 70.0 % and an accuracy near 85.0 %" in advice.seen
    (other,) = advise(replace(GOOD, class_counts=(300, 600), worst=MISSED, is_balanced=True))
    assert "30 of 50 images are missed" in other.seen


def test_balanced_weights_are_not_advised_where_they_would_not_find_more() -> None:
    (advice,) = advise(replace(GOOD, class_counts=(300, 600), worst=MISSED, if_balanced=(0.4, 0.85)))
    assert advice.settings == ""


def test_the_advice_fits_a_terminal() -> None:
    text = as_lines([Advice("a sentence " * 20, "trainer.max_epochs=16"), Advice("short")])
    assert max(map(len, text.splitlines())) <= 80
    assert "      trainer.max_epochs=16\n  - short" in text
    assert as_lines([]) == ""


def test_a_schedule_that_ignores_freeze_is_not_told_to_freeze() -> None:
    (advice,) = advise(replace(GOOD, train_loss=0.05, val_loss=0.5, heeds_freeze=False))
    assert "freeze" not in advice.settings
