"""What `make results` measures: sections of rows, each trained with several seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SOLVED = ("head.solver=lbfgs", "augmentation=none")
TWO_PHASES = ("freeze=2", "finetuning.norm=frozen")
TRAINED_NORMS = ("freeze=2", "finetuning.norm=train")
SEVERAL = ("model.stages=4", "head.solver=lbfgs", "augmentation=none", "head.l2=cv")
TABLE = (
    "data=table",
    "data.root=data/elpv-0.5",
    "data.target=label",
    "data.stratify_column=wafer",
    "data.test_fraction=0.25",
)
LITE2 = "model=efficientnet_lite2"
UNUSED_SEED = 11
SEED = "{seed}"  # in a setting: the run's
EIGHT = ("trainer.max_epochs=8",)
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
    of such a section find nothing cached. `curve`: rows by what is compared and by the images of a class.
    """

    title: str
    about: str
    rows: tuple[Row, ...]
    folder: str | None = None
    settings: tuple[str, ...] = ()
    budgets: tuple[tuple[int, Row, Row], ...] = ()
    curve: Mapping[str, Mapping[int, Row]] = field(default_factory=dict)


def within_budgets(images: str, fixed: dict[int, str], **of_section: Any) -> Section:
    """Return a section that compares recipe=auto with fixed schedules; `fixed` names one by the minutes."""
    budgets = tuple(
        (
            minutes,
            Row(
                f"auto, {minutes} min",
                ("recipe=auto", f"time_budget={minutes}m"),
                seeds=1 if minutes > 10 else 3,
            ),
            Row(f"fixed: {name}", CANDIDATES[name], seeds=3),
        )
        for minutes, name in fixed.items()
    )
    return Section(
        f"{images}: recipe=auto",
        "recipe=auto against one fixed schedule for each time budget, on the same splits, nothing cached. "
        "The fixed schedule is the candidate that fits into the budget on both cores with the best "
        f"validation accuracy, then the lowest loss, on the splits of seed {UNUSED_SEED}. Candidates and "
        "fixed schedules were trained two at a time, on one core each.",
        (
            *dict.fromkeys(row for _, *rows in budgets for row in rows),
            *(Row(f"candidate: {n}", given, 1, UNUSED_SEED) for n, given in CANDIDATES.items()),
        ),
        budgets=budgets,
        **of_section,
    )


# What recipe=auto is compared with.
CANDIDATES = {
    "8 epochs": EIGHT,
    "L-BFGS head": SOLVED,
    "features of 4 stages": SEVERAL,
    "fine-tuned, 3 epochs": ("freeze=1", "finetuning.norm=frozen", "trainer.max_epochs=3"),
    "fine-tuned, 8 epochs": (*TWO_PHASES, *EIGHT),
}
# Cheap enough for every data set. The last ones change one setting of "8 epochs".
FROZEN = (
    Row("default", ()),
    Row("8 epochs", EIGHT),
    Row("features of 4 stages", ("model.stages=4",)),
    Row("L-BFGS head", SOLVED),
    Row("L-BFGS head, features of 4 stages", SEVERAL),
    Row("default, epoch of the lowest validation loss", ("monitor=val/loss",)),
    Row("8 epochs, learning rate 0.01", (*EIGHT, "optimizer.lr=0.01")),
    Row("8 epochs, whole image padded", (*EIGHT, "data.fit=pad")),
    Row("8 epochs, whole image squashed", (*EIGHT, "data.fit=squash")),
    Row("8 epochs, balanced class weights", (*EIGHT, "loss.class_weights=balanced")),
    Row("8 epochs, label smoothing 0.1", (*EIGHT, "loss.label_smoothing=0.1")),
)

MILD = "augmentation.min_scale=0.8"
CHOSEN = (
    "The milder crops of whole cells were chosen by the validation splits of another section, which have "
    "some of these test cells."
)
CUTS = (
    FROZEN[0],
    FROZEN[3],
    FROZEN[4],
    Row("fine-tuned, 12 epochs", (*TWO_PHASES, *TWELVE), seeds=3),
    Row("whole cells, fine-tuned, 12 epochs", (*WHOLE, *TWELVE, MILD), seeds=3),
)

FEW = {
    way: {
        images: Row(
            f"{way}, {images} a class", (f"data.file=logs/results/elpv-{images}-seed{SEED}.csv", *given), 3
        )
        for images in (5, 10, 25, 50, 100, 250)
    }
    for way, given in {
        "default": (),
        "L-BFGS head": SOLVED,
        "fine-tuned, 12 epochs": (*TWO_PHASES, *TWELVE),
        "recipe=auto, 1 min": ("recipe=auto", "time_budget=1m"),
    }.items()
}

SECTIONS = {
    "elpv": Section(
        "ELPV, p > 0.5",
        "2,624 solar cells, defective where the annotators' probability is above 0.5; 656 test images, "
        "stratified by label and wafer. Deitsch et al. (2019, Solar Energy 185) report 82.4 % (SVM) and "
        "88.4 % (VGG19, AUROC 0.944) with 75 % of the cells for training and 25 % for the test; which cut "
        "of the probability they used is not certain.",
        (
            *FROZEN,
            Row("8 epochs, 3 views, 2 of them augmented", (*EIGHT, "features.views=3")),
            Row("L-BFGS head, 4 views", ("head.solver=lbfgs", "features.views=4"), seeds=1),
            Row("8 epochs, regression on p", (*EIGHT, "task=regression")),
            Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3),
            Row("fine-tuned, 6 epochs, trained norms", (*TRAINED_NORMS, "trainer.max_epochs=6"), seeds=3),
            Row("fine-tuned, 12 epochs", (*TWO_PHASES, *TWELVE), seeds=3),
        ),
        settings=("data=elpv",),
    ),
    "elpv-whole": Section(
        "ELPV, whole cells",
        "The same cells and splits without the centre crop: the whole cell at its 300 pixels, flipped both "
        "ways, fine-tuned for 12 epochs. Each further row changes one setting of the first, the last two "
        "rows several. With one seed, differences of two points are noise.",
        (
            Row("whole cells", (*WHOLE, *TWELVE), seeds=3),
            Row("optimizer.lr=0.001", (*WHOLE, *TWELVE, "optimizer.lr=0.001"), seeds=3),
            Row("optimizer.lr=0.01", (*WHOLE, *TWELVE, "optimizer.lr=0.01"), seeds=1),
            Row("crops of at least 0.8", (*WHOLE, *TWELVE, MILD), seeds=3),
            Row("25 epochs", (*WHOLE, "trainer.max_epochs=25"), seeds=1),
            Row("average of the weights", (*WHOLE, *TWELVE, "callbacks=ema"), seeds=1),
            Row("trained norms", (*WHOLE, *TWELVE, "finetuning.norm=train"), seeds=3),
            Row("layer decay 0.8", (*WHOLE, *TWELVE, "finetuning.layer_decay=0.8"), seeds=1),
            Row("balanced class weights", (*WHOLE, *TWELVE, "loss.class_weights=balanced"), seeds=1),
            Row("mixup 0.2", (*WHOLE, *TWELVE, "regularisation.mixup=0.2"), seeds=1),
            Row("TrivialAugment", (*WHOLE, *TWELVE, "augmentation=trivial"), seeds=1),
            Row("Lite2", (LITE2, *WHOLE, *TWELVE), seeds=3),
            Row(
                "Lite2, crops of at least 0.8, optimizer.lr=0.001",
                (LITE2, *WHOLE, *TWELVE, MILD, "optimizer.lr=0.001"),
                seeds=3,
            ),
            Row("Lite2, 384 pixels", (LITE2, *WHOLE, *TWELVE, "data.image_size=384"), seeds=1),
        ),
        settings=("data=elpv",),
    ),
    "elpv-few": Section(
        "ELPV, p > 0.5, few images",
        "Only the given number of cells of each class for training and validation, one in five of them for "
        "validation; 656 test cells.",
        tuple(row for rows in FEW.values() for row in rows.values()),
        settings=("data=table", "data.root=data/elpv-0.5", "data.target=label", "data.split_column=split"),
        curve=FEW,
    ),
    "elpv-any": Section(
        "ELPV, p > 0",
        "The same cells, defective where any annotator saw a defect.",
        CUTS,
        settings=("data=elpv", "data.cut=0"),
    ),
    "elpv-certain": Section(
        "ELPV, p = 0 or 1",
        "Only the 2,223 cells that the annotators agreed on; a quarter of them are test cells.",
        CUTS,
        settings=(*TABLE, "data.file=logs/results/elpv-certain.csv"),
    ),
    "elpv-80-20": Section(
        "ELPV, p = 0 or 1, 80 % and 20 %",
        "The protocol of Wang et al. (2023), who report 84.0 to 89.0 % for standard networks and 96.17 % for "
        f"their own: a random fifth of the certain cells are test cells. {CHOSEN}",
        CUTS,
        settings=(*TABLE[:3], "data.test_fraction=0.2", "data.file=logs/results/elpv-certain.csv"),
    ),
    "elpv-folds": Section(
        "ELPV, p = 0 or 1, five folds",
        "The protocol of Demirci et al. (2024), who report 89.70 % for VGG16, and 91.54 % with weighted "
        "classes: each fold of the certain cells is tested once, by a network trained on the other four. "
        f"What is called a seed here is a fold. {CHOSEN}",
        tuple(replace(row, seeds=5) for row in CUTS),
        settings=(*TABLE[:3], "data.split_column=split", f"data.file=logs/results/elpv-fold{SEED}.csv"),
    ),
    "elpv-blocks": Section(
        "ELPV, p > 0.5, neighbours together",
        "As the first section, but 60 cells that follow each other in the package's list are in the same "
        "split. They are mostly of the same solar module: how much of the figures above is owed to that.",
        CUTS,
        settings=(*TABLE, "data.file=logs/results/elpv-blocks.csv", "data.group_column=block"),
    ),
    "ants": Section(
        "Ants and bees",
        "The PyTorch tutorial's images: 244 for training, 15 % of them for validation; its other 153 are the "
        "test images. They come from ImageNet, which the network was trained on.",
        (
            *FROZEN,
            Row("8 epochs, 1 view, not augmented", (*EIGHT, "features.views=1")),
            Row("fine-tuned, 8 epochs", (*TWO_PHASES, *EIGHT), seeds=3),
            Row("fine-tuned, 8 epochs, trained norms", (*TRAINED_NORMS, *EIGHT), seeds=3),
        ),
        folder="ants",
    ),
    "waste": Section(
        "Waste",
        "2,527 images of 6 classes (TrashNet); 15 % of them for the test, 15 % for validation.",
        (
            *FROZEN,
            Row("8 epochs, 2 views, 1 of them augmented", (*EIGHT, "features.views=2")),
            Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3),
            Row("fine-tuned, 6 epochs, trained norms", (*TRAINED_NORMS, "trainer.max_epochs=6"), seeds=3),
        ),
        folder="waste",
    ),
    "elpv-auto": within_budgets(
        "ELPV",
        {
            1: "features of 4 stages",
            3: "features of 4 stages",
            10: "fine-tuned, 8 epochs",
            30: "fine-tuned, 8 epochs",
        },
        settings=("data=elpv",),
    ),
    "ants-auto": within_budgets(
        "Ants and bees", {1: "8 epochs", 3: "fine-tuned, 8 epochs", 10: "fine-tuned, 8 epochs"}, folder="ants"
    ),
    "waste-auto": within_budgets(
        "Waste",
        {1: "features of 4 stages", 3: "features of 4 stages", 10: "fine-tuned, 8 epochs"},
        folder="waste",
    ),
}
