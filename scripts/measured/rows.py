"""What `make results` measures: sections of rows, each trained with several seeds."""

from dataclasses import dataclass
from typing import Any

SOLVED = ("head.solver=lbfgs", "augmentation=none")
TWO_PHASES = ("freeze=2", "finetuning.norm=frozen")
LITE2 = "model=efficientnet_lite2"
UNUSED_SEED = 11
TWELVE = ("trainer.max_epochs=12",)
WHOLE = (
    "data.fit=pad",
    "data.image_size=300",
    "data.cache=ram",
    "augmentation.vertical_flip=0.5",
    *TWO_PHASES,
)


@dataclass(frozen=True)
class Row:
    """Settings of `train.py`, trained with `seeds` seeds from `first` on; a seed also makes the splits."""

    name: str
    settings: tuple[str, ...]
    seeds: int = 5
    first: int = 1


@dataclass(frozen=True)
class Section:
    """Rows that use the same images; `folder` names the script's setting with them, None for ELPV.

    `budgets`: minutes, with a row of recipe=auto and one of a fixed schedule, compared seed by seed. The runs
    of such a section find nothing cached.
    """

    title: str
    about: str
    rows: tuple[Row, ...]
    folder: str | None = None
    settings: tuple[str, ...] = ()
    budgets: tuple[tuple[int, Row, Row], ...] = ()


def within_budgets(images: str, fixed: dict[int, str], **of_section: Any) -> Section:
    """Return a section that compares recipe=auto with fixed schedules; `fixed` names one by the minutes."""
    budgets = tuple(
        (
            minutes,
            Row(f"auto, {minutes} min", ("recipe=auto", f"time_budget={minutes}m"), seeds=3),
            Row(f"fixed: {name}", CANDIDATES[name], seeds=3),
        )
        for minutes, name in fixed.items()
    )
    return Section(
        f"{images}: recipe=auto",
        "recipe=auto against one fixed schedule for each time budget, on the same splits, nothing cached. "
        "The fixed schedule is the candidate that fits into the budget with the best validation accuracy, "
        f"on the splits of seed {UNUSED_SEED}.",
        (
            *dict.fromkeys(row for _, *rows in budgets for row in rows),
            *(Row(f"candidate: {n}", given, 1, UNUSED_SEED) for n, given in CANDIDATES.items()),
        ),
        budgets=budgets,
        **of_section,
    )


# What recipe=auto is compared with.
CANDIDATES = {
    "default": (),
    "L-BFGS head": SOLVED,
    "fine-tuned, 3 epochs": ("freeze=1", "finetuning.norm=frozen", "trainer.max_epochs=3"),
    "fine-tuned, 8 epochs": (*TWO_PHASES, "trainer.max_epochs=8"),
}
# By the minutes of the budget.
CHOSEN = {1: "L-BFGS head", 3: "fine-tuned, 3 epochs", 10: "fine-tuned, 8 epochs"}

# One default changed at a time, cheap enough for every data set.
FROZEN = (
    Row("default", ()),
    Row("L-BFGS head", SOLVED),
    Row("L-BFGS head, 4 views", ("head.solver=lbfgs", "features.views=4")),
    Row("25 epochs", ("trainer.max_epochs=25",)),
    Row("whole image, padded", ("data.fit=pad",)),
    Row("whole image, squashed", ("data.fit=squash",)),
    Row("balanced class weights", ("loss.class_weights=balanced",)),
    Row("label smoothing 0.1", ("loss.label_smoothing=0.1",)),
)

SECTIONS = {
    "elpv": Section(
        "ELPV, p > 0.5",
        "2,624 solar cells, defective where the annotators' probability is above 0.5; 656 test images, "
        "stratified by label and wafer.",
        (
            *FROZEN,
            Row("3 views, 2 of them augmented", ("features.views=3",)),
            Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3),
            Row("fine-tuned, 12 epochs", (*TWO_PHASES, *TWELVE), seeds=3),
        ),
        settings=("data=elpv",),
    ),
    "elpv-whole": Section(
        "ELPV, whole cells",
        "The same cells and splits without the crop: the whole cell at its 300 pixels, flipped both ways, "
        "fine-tuned for 12 epochs. Each further row changes one setting of the first. With one seed, "
        "differences of two points are noise.",
        (
            Row("whole cells", (*WHOLE, *TWELVE), seeds=3),
            Row("optimizer.lr=0.001", (*WHOLE, *TWELVE, "optimizer.lr=0.001"), seeds=3),
            Row("optimizer.lr=0.01", (*WHOLE, *TWELVE, "optimizer.lr=0.01"), seeds=1),
            Row("crops of at least 0.8", (*WHOLE, *TWELVE, "augmentation.min_scale=0.8"), seeds=3),
            Row("25 epochs", (*WHOLE, "trainer.max_epochs=25"), seeds=1),
            Row("average of the weights", (*WHOLE, *TWELVE, "callbacks=ema"), seeds=1),
            Row("trained norms", (*WHOLE, *TWELVE, "finetuning.norm=train"), seeds=3),
            Row("layer decay 0.8", (*WHOLE, *TWELVE, "finetuning.layer_decay=0.8"), seeds=1),
            Row("balanced class weights", (*WHOLE, *TWELVE, "loss.class_weights=balanced"), seeds=1),
            Row("mixup 0.2", (*WHOLE, *TWELVE, "regularisation.mixup=0.2"), seeds=1),
            Row("TrivialAugment", (*WHOLE, *TWELVE, "augmentation=trivial"), seeds=1),
            Row("Lite2", (LITE2, *WHOLE, *TWELVE), seeds=3),
            Row("Lite2, 384 pixels", (LITE2, *WHOLE, *TWELVE, "data.image_size=384"), seeds=1),
        ),
        settings=("data=elpv",),
    ),
    "ants": Section(
        "Ants and bees",
        "The PyTorch tutorial's images: 244 for training, 15 % of them for validation; its other 153 are the "
        "test images. They come from ImageNet, which the network was trained on.",
        (
            *FROZEN,
            Row("1 view, not augmented", ("features.views=1",)),
            Row("fine-tuned, 8 epochs", (*TWO_PHASES, "trainer.max_epochs=8"), seeds=3),
        ),
        folder="ants",
    ),
    "waste": Section(
        "Waste",
        "2,527 images of 6 classes (TrashNet); 15 % of them for the test, 15 % for validation.",
        (
            *FROZEN,
            Row("2 views, 1 of them augmented", ("features.views=2",)),
            Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3),
        ),
        folder="waste",
    ),
    "elpv-auto": within_budgets("ELPV", CHOSEN, settings=("data=elpv",)),
    "ants-auto": within_budgets("Ants and bees", CHOSEN, folder="ants"),
    "waste-auto": within_budgets("Waste", CHOSEN, folder="waste"),
}
