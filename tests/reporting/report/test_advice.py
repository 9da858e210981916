# room: reporting
"""The advice follows from what was measured."""

from dataclasses import replace

import pytest

from graft.reporting.report.advice import Facts, advise
from graft.reporting.report.statistics import Estimate

GOOD = Facts(
    accuracy=Estimate(0.9, 0.88, 0.92),
    majority=0.5,
    test_images=1000,
    ece=0.01,
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
        ({"train_loss": 0.05, "val_loss": 0.5}, "augmentation=standard"),
        ({"best_epoch": 8}, "trainer.max_epochs=16"),
        ({"only_head": True}, "finetuning=lp_ft"),
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
    (grouped, _) = advise(replace(wide, test_groups=3))
    assert "10 test images of 3 groups" in grouped.seen
    assert grouped.seen.endswith("Test on more groups.")
