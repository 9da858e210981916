"""Tries a training step's forward pass before anything slow, and says what to write where it fails."""

from collections.abc import Sequence

from graft.errors import UserError
from graft.models.backbones.image_sizes import failure, runs, sizes_that_run
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, apply_phase, hold_frozen


def refuse_failing_phase(
    classifier: Classifier, phases: Sequence[Phase], norm: str, size: tuple[int, int], batch_size: int
) -> None:
    """Raise a UserError where the last phase, in which most learns, cannot train on such batches.

    In training, auxiliary classifiers need larger images than the network itself, and norm layers
    more than one value per channel. `size` is the height and width of the images in pixels.
    """
    phase = phases[-1]
    if phase.learns == (HEAD,):
        return
    apply_phase(classifier, phase, norm)
    classifier.train()
    hold_frozen(classifier, norm)
    name = classifier.backbone.name
    if failure(classifier, size, batch_size=2) is not None:
        known = classifier.backbone.preprocessing.crop[0]
        sizes = sizes_that_run(lambda side: runs(classifier, side), size[0], known)
        raise UserError(
            f"data.image_size={size[0]}: to learn, {name} takes {sizes}; "
            "or write freeze=true, with which only the head learns."
        )
    if batch_size == 1 and failure(classifier, size, batch_size=1) is not None:
        raise UserError(
            f"data.batch_size=1: from images of {size[0]}x{size[1]} pixels, {name}'s norm layers get one "
            "value per channel, without a variance; write data.batch_size=2 or more, finetuning.norm=frozen, "
            "freeze=true, or a larger data.image_size."
        )
