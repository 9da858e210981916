"""What to try next: a few plain rules, each with the figures that it rests on."""

from dataclasses import dataclass

from graft.reporting.report.statistics import Estimate

FEW = 50  # training images of a class
UNEVEN = 3.0  # the largest class in terms of the smallest
OVERFITTED = 0.7  # training loss in terms of the validation loss
FAR = 0.1  # least gap of the two losses that says something
WIDE = 0.1  # width of the interval of the accuracy
MISCALIBRATED = 0.05


@dataclass(frozen=True)
class Facts:
    """What the rules look at; what is unknown is None."""

    accuracy: Estimate
    majority: float  # share of the largest class among the test images
    test_images: int
    ece: float
    test_groups: int | None = None  # where groups are kept together
    is_calibrated: bool = False
    leaking: int = 0  # groups of equal images in several splits
    class_counts: tuple[int, ...] = ()  # training images
    is_balanced: bool = False  # whether the loss or the sampling counts classes the same
    only_head: bool = False  # whether the backbone stayed frozen
    train_loss: float | None = None  # of the best epoch
    val_loss: float | None = None  # of the best epoch
    best_epoch: int | None = None
    epochs: int = 0


@dataclass(frozen=True)
class Advice:
    """What was seen, and the settings to try; the settings may be empty."""

    seen: str
    settings: str = ""


def advise(facts: Facts) -> list[Advice]:
    """Return what to try next, most important first; at least one entry."""
    found = [*about_trust(facts), *about_training(facts)]
    nothing = "Nothing stands out. Other seeds tell how much of a difference between two runs is chance:"
    return found or [Advice(nothing, "-m seed=1,2,3")]


def about_trust(facts: Facts) -> list[Advice]:
    """Return what keeps the figures from being believed."""
    found = []
    if facts.leaking:
        images = "image is" if facts.leaking == 1 else "images are"
        seen = f"{facts.leaking} {images} in several splits, so the test is too easy."
        cure = "Remove the copies, or keep what belongs together in one split:"
        found.append(Advice(f"{seen} {cure}", "data.keep_together=COLUMN"))
    if facts.accuracy.low <= facts.majority:
        seen = (
            f"Always naming the largest class is right in {percent(facts.majority)}; this may be no better."
        )
        cure = "Look at the mistakes, the labels and the learning rate:"
        found.append(Advice(f"{seen} {cure}", "learning_rate=auto"))
    if facts.accuracy.high - facts.accuracy.low > WIDE:
        limits = f"{percent(facts.accuracy.low)} and {percent(facts.accuracy.high)}"
        of_groups, more = "", "images"
        if facts.test_groups is not None:
            of_groups, more = f" of {facts.test_groups} groups", "groups"
        seen = f"{facts.test_images} test images{of_groups} leave the accuracy between {limits}:"
        found.append(Advice(f"{seen} smaller differences between runs mean nothing. Test on more {more}."))
    if facts.ece > MISCALIBRATED and not facts.is_calibrated:
        seen = f"Probabilities are off by {percent(facts.ece)} on average (ECE)."
        found.append(Advice(f"{seen} A temperature mends most of it:", "calibrate=true"))
    return found


def about_training(facts: Facts) -> list[Advice]:
    """Return what might make the network better."""
    found = []
    counts = facts.class_counts
    if counts and min(counts) < FEW:
        seen = f"The smallest class has {min(counts)} training images."
        found.append(Advice(f"{seen} More images of it help more than any setting."))
    if counts and max(counts) >= UNEVEN * min(counts) and not facts.is_balanced:
        ratio = max(counts) / max(1, min(counts))
        seen = f"The largest class has {ratio:.1f} times the images of the smallest."
        found.append(Advice(f"{seen} If the small one matters as much:", "loss.class_weights=balanced"))
    overfitted = False
    if facts.train_loss is not None and facts.val_loss is not None:
        gap = facts.val_loss - facts.train_loss
        overfitted = gap > FAR and facts.train_loss < OVERFITTED * facts.val_loss
        if overfitted:
            seen = f"The training loss ({facts.train_loss:.3f}) is far below that of validation"
            seen += f" ({facts.val_loss:.3f}): it is overfitting."
            less = "augmentation=standard" if facts.only_head else "augmentation=standard freeze=true"
            found.append(Advice(f"{seen} Vary them more, or let fewer stages learn:", less))
    if facts.best_epoch is not None and facts.best_epoch == facts.epochs:
        seen = f"The last epoch ({facts.epochs}) was the best: it may not have finished."
        found.append(Advice(f"{seen} Train longer:", f"trainer.max_epochs={2 * facts.epochs}"))
    if facts.only_head and not overfitted:
        seen = "Only the head learned. With the backbone learning too, images unlike ImageNet often gain:"
        found.append(Advice(seen, "finetuning=lp_ft"))
    return found


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"
