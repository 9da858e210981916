"""What to try next: a few plain rules, each with the figures that it rests on."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graft.reporting.report.statistics import ClassFigures, Estimate

FEW = 50  # training images of a class
MANY = 1000  # training images per class, from which on all layers can be trained at once
LOW_RECALL = 0.7
UNEVEN, RATHER_UNEVEN = 3.0, 1.5  # the largest class in terms of the smallest
OVERFITTED = 0.7  # training loss in terms of the validation loss
FAR = 0.1  # least gap of the two losses that says something
WIDE = 0.1  # width of the interval of the accuracy
MISCALIBRATED = 0.05


@dataclass(frozen=True)
class Facts:
    """What the rules look at; what is unknown is None."""

    accuracy: Estimate | None
    majority: float | None  # share of the largest class among the test images
    test_images: int
    ece: float | None
    test_groups: int | None = None  # where groups are kept together
    is_calibrated: bool = False
    leaking: int = 0  # groups of equal images in several splits
    kind: str = "class"  # or label
    train_images: int = 0
    class_counts: tuple[int, ...] = ()  # training images
    worst: ClassFigures | None = None  # the class or label with the lowest recall
    if_balanced: tuple[float, float] | None = None  # its recall and the accuracy: see `balanced_outlook`
    is_balanced: bool = False  # whether the loss or the sampling counts classes the same
    only_head: bool = False  # whether the backbone stayed frozen
    heeds_freeze: bool = True  # whether the schedule does
    train_loss: float | None = None  # of the best epoch
    val_loss: float | None = None  # of the best epoch
    best_epoch: int | None = None
    epochs: int = 0
    can_train_longer: bool = True  # no solved head, no recipe with epochs of its own, no limit but epochs
    takes_class_weights: bool = True  # whether the loss does
    can_be_solved: bool = True  # whether head.solver=lbfgs and recipe=auto would take the settings
    group_setting: str = "data.keep_together"  # which keeps images together


@dataclass(frozen=True)
class Advice:
    """What was seen, and the settings to try; the settings may be empty."""

    seen: str
    settings: str = ""


def advise(facts: Facts) -> list[Advice]:
    """Return what to try next, most important first; at least one entry."""
    found = [*about_trust(facts), *about_imbalance(facts), *about_training(facts)]
    nothing = "Nothing stands out. Other seeds show how much the result varies by chance:"
    return found or [Advice(nothing, "-m seed=1,2,3")]


def as_lines(advice: Sequence[Advice]) -> str:
    """Return the advice for a terminal of 80 columns; nothing where there is none."""
    lines = ["what to try next"] if advice else []
    for one in advice:
        lines.append(textwrap.fill(one.seen, 78, initial_indent="  - ", subsequent_indent="    "))
        lines += [f"      {one.settings}"] if one.settings else []
    return "\n".join(lines)


def about_trust(facts: Facts) -> Iterator[Advice]:
    if facts.leaking:
        images = "image is" if facts.leaking == 1 else "images are"
        seen = f"{facts.leaking} {images} in several splits: the test result is too optimistic."
        cure = "Remove the copies, or keep what belongs together in one split:"
        yield Advice(f"{seen} {cure}", f"{facts.group_setting}=COLUMN")
    accuracy = facts.accuracy
    if accuracy is not None and facts.majority is not None and accuracy.low <= facts.majority:
        seen = f"Always predicting the largest class is right in {percent(facts.majority)}."
        seen += " This network may not be better. Look at the mistakes, the labels and the learning rate:"
        yield Advice(seen, "learning_rate=auto")
    if accuracy is not None and accuracy.high - accuracy.low > WIDE:
        of_groups, more = "", "images"
        if facts.test_groups is not None:
            of_groups, more = f" of {facts.test_groups} groups", "groups"
        limits = f"{percent(accuracy.low)} and {percent(accuracy.high)}"
        seen = f"{facts.test_images} test images{of_groups} leave the accuracy between {limits}; more {more}"
        paired = "To compare two runs on the same test images, use the paired test of scripts/compare.py."
        yield Advice(f"{seen} narrow this. {paired}")
    if facts.ece is not None and facts.ece > MISCALIBRATED and not facts.is_calibrated:
        seen = f"Probabilities are off by {100 * facts.ece:.1f} percentage points on average (ECE)."
        yield Advice(f"{seen} Temperature scaling often reduces this:", "calibrate=true")


def about_imbalance(facts: Facts) -> Iterator[Advice]:
    counts, worst = facts.class_counts, facts.worst
    ratio = max(counts) / max(1, min(counts)) if counts else 1.0
    if counts and min(counts) < FEW:
        fewest = f"has {min(counts)} training images. More images"
        if ratio >= RATHER_UNEVEN:
            yield Advice(f"The smallest {facts.kind} {fewest} of it help more than any setting.")
        else:
            yield Advice(f"A {facts.kind} {fewest} help more than any setting.")
    seen, is_low = "", False
    if worst is not None and worst.recall is not None and worst.recall.value < LOW_RECALL:
        is_low, missed = True, round(worst.images * (1 - worst.recall.value))
        seen = f"Recall of {worst.name} is only {percent(worst.recall.value)}:"
        seen += f" {missed} of {worst.images} images are missed. "
    is_uneven = ratio >= (RATHER_UNEVEN if is_low else UNEVEN)
    if worst is not None and worst.recall is not None and facts.if_balanced is not None:
        is_uneven &= facts.if_balanced[0] > worst.recall.value  # else balanced weights would not help
    if is_uneven and not facts.is_balanced and facts.takes_class_weights:
        seen += f"The largest {facts.kind} has {ratio:.1f} times the training images of the smallest."
        effect = "Balanced weights find more of the small ones, at the cost of more false alarms:"
        if facts.if_balanced is not None and worst is not None:
            recall, accuracy = map(percent, facts.if_balanced)
            effect = "Balanced weights find more of the small ones, at the cost of more false alarms; expect"
            effect += f" a recall of {worst.name} near {recall} and an accuracy near {accuracy}:"
        yield Advice(f"{seen} {effect}", "loss.class_weights=balanced")
    elif is_low:
        yield Advice(f"{seen}Look at them and at their labels; more training images like them help most.")


def about_training(facts: Facts) -> Iterator[Advice]:
    if facts.accuracy is not None and facts.accuracy.value == 1:
        return  # No test image is wrong: other training could not show that it is better.
    overfitted = False
    if facts.train_loss is not None and facts.val_loss is not None:
        gap = facts.val_loss - facts.train_loss
        overfitted = gap > FAR and facts.train_loss < OVERFITTED * facts.val_loss
    if overfitted and facts.can_train_longer:
        seen = f"The training loss ({facts.train_loss:.3f}) is far below that of validation"
        cure, settings = "Augment more, or train fewer stages:", "augmentation=standard freeze=true"
        if not facts.heeds_freeze:
            cure, settings = "Augment more:", "augmentation=standard"
        if facts.only_head:
            cure, settings = "Augment more:", "augmentation=standard features.views=4"
        if facts.only_head and facts.can_be_solved:
            cure, settings = "Let the validation images choose an L2 strength:", "head.solver=lbfgs"
        yield Advice(f"{seen} ({facts.val_loss:.3f}): the model is overfitting. {cure}", settings)
    elif facts.can_train_longer and facts.best_epoch is not None and facts.best_epoch == facts.epochs:
        seen = f"The last epoch ({facts.epochs}) was the best: it may not have finished."
        yield Advice(f"{seen} Train longer:", f"trainer.max_epochs={2 * facts.epochs}")
    of_a_class = facts.train_images / max(1, len(facts.class_counts))
    if facts.only_head and not overfitted and of_a_class >= FEW:  # See docs/finetuning.md.
        seen = "Only the head was trained. Images unlike ImageNet often gain from a trained backbone"
        settings = "freeze=false" if of_a_class >= MANY else "finetuning=lp_ft"
        if facts.can_be_solved:  # room: recipes
            seen += " or features of earlier stages; a recipe tries both in a given time"  # room: recipes
            settings = "recipe=auto time_budget=10m"  # room: recipes
        yield Advice(f"{seen}:", settings)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
