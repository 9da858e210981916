"""Tries a training step's forward pass before anything slow, and says what to write where it fails."""

from collections.abc import Sequence

from graft.errors import UserError
from graft.models.backbones.image_sizes import failure, runs, sizes_that_run
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, apply_phase, hold_frozen


def refuse_failing_phase(
    classifier: Classifier, phases: Sequence[Phase], norm: str, size: tuple[int, int], batch_size: int
) -> None:
    """Raise a UserError where the last phase, in which most is trainable, cannot train on such batches.

    In training, auxiliary classifiers need larger images than the network itself, and norm layers
    more than one value per channel. `size` is the height and width of the images in pixels.
    """
    phase = phases[-1]
    if phase.trainable == (HEAD,):
        return
    apply_phase(classifier, phase, norm)
    classifier.train()
    hold_frozen(classifier, norm)
    name, channels = classifier.backbone.name, classifier.backbone.channels
    if failure(classifier, size, batch_size=2, channels=channels) is not None:
        known = classifier.backbone.preprocessing.crop[0]
        sizes = sizes_that_run(lambda side: runs(classifier, side, channels), size[0], known)
        raise UserError(
            f"data.image_size={size[0]}: in training, {name} takes {sizes}; "
            "or write freeze=true, which trains the head only."
        )
    if batch_size == 1 and failure(classifier, size, batch_size=1, channels=channels) is not None:
        raise UserError(
            f"data.batch_size=1: {name}'s norm layers cannot be trained on one value per channel; write "
            "data.batch_size=2, finetuning.norm=frozen, freeze=true, or a larger data.image_size."
        )
