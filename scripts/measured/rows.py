"""What `make results` measures: sections of rows, each trained with several seeds."""

from dataclasses import dataclass

SOLVED = ("head.solver=lbfgs", "augmentation=none")
TWO_PHASES = ("freeze=2", "finetuning.norm=frozen")


@dataclass(frozen=True)
class Row:
    """Settings of `train.py`, trained with the seeds 1 to `seeds`; a seed also makes the splits."""

    name: str
    settings: tuple[str, ...]
    seeds: int = 5


@dataclass(frozen=True)
class Section:
    """Rows that use the same images; `folder` names the script's setting with them, None for ELPV."""

    title: str
    about: str
    rows: tuple[Row, ...]
    folder: str | None = None
    settings: tuple[str, ...] = ()


# One default changed at a time, cheap enough for every data set.
FROZEN = (
    Row("default", ()),
    Row("augmentation=none", ("augmentation=none",)),
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
            Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3),
            Row("fine-tuned, 12 epochs", (*TWO_PHASES, "trainer.max_epochs=12"), seeds=3),
        ),
        settings=("data=elpv",),
    ),
    "ants": Section(
        "Ants and bees",
        "The PyTorch tutorial's images: 244 for training, 15 % of them for validation; its other 153 are the "
        "test images. They come from ImageNet, which the network was trained on.",
        (*FROZEN, Row("fine-tuned, 8 epochs", (*TWO_PHASES, "trainer.max_epochs=8"), seeds=3)),
        folder="ants",
    ),
    "waste": Section(
        "Waste",
        "2,527 images of 6 classes (TrashNet); 15 % of them for the test, 15 % for validation.",
        (*FROZEN, Row("fine-tuned, 6 epochs", (*TWO_PHASES, "trainer.max_epochs=6"), seeds=3)),
        folder="waste",
    ),
}
