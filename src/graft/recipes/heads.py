"""The first step of a recipe: linear heads on cached features, compared by cross-validation."""

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
from scipy.stats import binomtest
from torch import nn

from graft.data.cache_folders import RECIPE
from graft.data.labelled_images import LabelledImages
from graft.data.sample import SPLITS
from graft.data.splits import group_of
from graft.errors import UserError
from graft.features.cache import FeatureCache, number_of_views
from graft.features.cross_validation import CrossValidation, cross_validated
from graft.features.dataset import FeatureDataset
from graft.features.head_solver import fitted_heads
from graft.features.recipe import recipe, recipe_digest
from graft.features.store import FeatureStore
from graft.models.backbones import stages
from graft.models.freezing import HEAD, Phase, apply_phase
from graft.recipes.budget import Budget, Pace, measured_pace
from graft.recipes.checks import refuse_network
from graft.recipes.plan import Plan, with_values
from graft.training.building import build_classifier, build_data, build_loss, plan_phases
from graft.training.summary import plural

log = logging.getLogger(__name__)

SEVERAL_STAGES = 4
SEVERAL_VIEWS = 4
SHARE = 0.25  # of the time left that a further head may take, where fine-tuning fits into it
SOLVED = {"freeze": True, "head.solver": "lbfgs"}
FROZEN = Phase("head", (HEAD,), 1)


@dataclass(frozen=True)
class Head:
    """What a head is fitted to, and its cross-validation."""

    stages: int
    views: int
    found: CrossValidation

    @property
    def settings(self) -> dict[str, Any]:
        own = {"model.stages": self.stages, "features.views": self.views, "head.l2": self.found.strength}
        return SOLVED | own


class HeadSearch:
    """Fits heads to cached features. The backbone runs once, for the most stages that may be tried.

    Raises UserError where a head cannot be solved.
    """

    def __init__(
        self, settings: dict[str, Any], images: LabelledImages, trainer: L.Trainer, ending: float
    ) -> None:
        self.settings, self.images, self.trainer, self.ending = settings, images, trainer, ending
        narrow = build_classifier(settings, images)
        self.narrow = narrow.backbone
        self.data, loss = build_data(settings, images, narrow), build_loss(settings, images)
        refuse_network(narrow, loss)
        plan_phases(with_values(settings, SOLVED), narrow, loss)  # Refuses what else cannot be solved.
        assert isinstance(loss, nn.CrossEntropyLoss)
        self.loss = loss
        self.own = settings["model"]["stages"]
        self.most = max(self.own, min(SEVERAL_STAGES, len(stages(self.narrow)) - 1))
        try:
            self.wide = build_classifier(with_values(settings, {"model.stages": self.most}), images)
        except UserError as error:
            log.info("recipe     only the network's own features are used: %s", error)
            self.most, self.wide = self.own, narrow
        for backbone in (self.narrow, self.wide.backbone):
            backbone.remove_auxiliary_heads()  # They only ever help a backbone that is trained.
        self.wide.backbone.load_state_dict(self.narrow.state_dict())  # `model.weights=null` is random.
        self.views = number_of_views("auto", self.data, Phase("head", (HEAD,), SEVERAL_VIEWS))
        self.cached: dict[int, dict[str, FeatureDataset]] = {}  # by the number of views, then by split

    @cached_property
    def pace(self) -> Pace:
        """Measured when it is asked for: in a short budget, its seconds are missing elsewhere."""
        return measured_pace(self.wide, self.data, self.loss, self.trainer, self.ending)

    def tried(self, count: int, views: int) -> Head:
        """Return the head on the last `count` stages and so many views of each training image."""
        groups = [group_of(sample) for sample in self.images.samples["train"]]
        features = self.features(views)["train"].part(width=self.width(count))
        return Head(count, views, cross_validated(features, groups, len(self.images.task.columns), self.loss))

    def wrong_in_validation(self, head: Head) -> list[int]:
        """Return the validation images that are wrong with the head that all training images give."""
        features, width = self.features(head.views), self.width(head.stages)
        train, val = (features[split].part(width=width) for split in ("train", "val"))
        classes, strengths = len(self.images.task.columns), (head.found.strength,)
        (fit,) = fitted_heads(train, val, classes, self.loss, strengths)
        wrong: list[int] = (~fit.is_right).nonzero().flatten().tolist()
        return wrong

    def width(self, stages: int) -> int:
        return (self.narrow if stages == self.own else self.wide.backbone).num_features

    def features(self, views: int) -> dict[str, FeatureDataset]:
        """Return the features of each split, of the most stages."""
        if views in self.cached:
            return self.cached[views]
        apply_phase(self.wide, FROZEN)
        mixes = any(self.settings["regularisation"][key] for key in ("mixup", "cutmix"))
        asked: dict[str, Any] = self.settings["features"] | {"cache": True, "views": views}
        cache = FeatureCache(
            **asked, needed_by="recipe=auto needs cached features", way_out="leave recipe=auto out"
        )
        self.cached[views] = cache.features(self.wide, self.data, self.trainer, FROZEN, SPLITS, mixes)
        return self.cached[views]

    def share_features(self, views: int) -> None:
        """Let the network of fewer stages find its features: they are the last columns of those of more.

        It would compute them itself where they cannot be written.
        """
        datasets = self.features(views).values()
        wide, width = next(iter(datasets)).store, self.narrow.num_features
        locations = np.concatenate([dataset.locations.reshape(-1, 2) for dataset in datasets])
        precision, device = str(self.trainer.precision), self.trainer.strategy.root_device
        made_by = recipe(self.narrow, self.data.preprocessing, str(wide.dtype), precision, device)
        try:
            made_by["engine"] = json.loads((wide.folder / RECIPE).read_text(encoding="utf-8"))["engine"]
            folder = self.data.cache_room.features / recipe_digest(made_by)
            with self.data.cache_room.filling(folder, made_by) as use:
                store = FeatureStore(folder, width, str(wide.dtype), use)
                for number, segment in enumerate(wide.segments):
                    rows = np.unique(locations[locations[:, 0] == number, 1])
                    rows = rows[store.locate(segment.keys[rows])[:, 0] < 0]
                    if len(rows):
                        store.add(segment.keys[rows], segment.rows[rows, -width:])
        except OSError as error:
            log.info("recipe     the features of fewer stages are not stored: %s", error)


def choose_head(search: HeadSearch, plan: Plan, budget: Budget) -> Head | None:
    """Put the best head into the plan: of one stage or several, of one view or several.

    More of either is taken where it lowers the loss by more than the standard error of the difference, and no
    fewer images are right. Several stages are also taken where time is too short to compare: they lose little
    where they do not help (docs/results.md). Returns the head, or None where nothing was compared.
    """

    def tried(count: int, views: int) -> Head:
        head = search.tried(count, views)
        plan.note(described(head))
        return head

    search.features(1)
    if budget.is_nearly_over:
        plan.note(f"{named(search.most, 1)}: not compared, {max(0, budget.left()):.0f} s are left")
        plan.head = SOLVED | {"model.stages": search.most, "features.views": 1, "head.l2": "validation"}
        plan.write()
        return None
    before = budget.left()
    best = tried(search.most, 1)
    seconds = before - budget.left()
    if search.own < search.most and is_affordable(
        named(search.own, 1), seconds, time_for_a_head(search, budget), plan
    ):
        best = better_of(tried(search.own, 1), best, plan)
    if search.views > 1 and not budget.is_nearly_over:
        augmented = search.pace.before_fit + (search.views - 1) * search.pace.evaluate("train")
        seconds = search.views * seconds + augmented
        name = named(best.stages, search.views)
        if is_affordable(name, seconds, time_for_a_head(search, budget), plan):
            best = better_of(best, tried(best.stages, search.views), plan)
    if best.stages < search.most:
        search.share_features(best.views)
    plan.head = best.settings
    plan.write()
    return best


def time_for_a_head(search: HeadSearch, budget: Budget) -> float:
    """Return the seconds that a further head may take; fine-tuning gets most of them where it is possible."""
    if budget.is_nearly_over:
        return budget.left() - search.ending
    spare = budget.left() - search.pace.after_fit
    return spare * SHARE if search.pace.fewest_epochs * search.pace.epoch < spare else spare


def is_affordable(head: str, seconds: float, spare: float, plan: Plan) -> bool:
    """Return whether a head fits into the time; note it where it does not."""
    if seconds > spare:
        left = f"{max(0, spare):.0f} s are left for it"
        plan.note(f"{head}: left out, it would take about {seconds:.0f} s, and {left}")
    return seconds <= spare


def better_of(less: Head, more: Head, plan: Plan) -> Head:
    """Return the head with more stages or views where it is clearly better, else the other."""
    gains = less.found.losses - more.found.losses
    gain, error = float(gains.mean()), float(gains.std()) / len(gains) ** 0.5
    right = int(more.found.is_right.sum()) - int(less.found.is_right.sum())
    is_better = gain > error and right >= 0
    difference = f"loss {-gain:+.4f} ± {error:.4f}, {right:+d} images right"
    both = f"{named(more.stages, more.views)} against {named(less.stages, less.views)}"
    plan.note(f"{both}: {difference}: {'' if is_better else 'not '}taken")
    return more if is_better else less


def described(head: Head) -> str:
    right = with_interval(int(head.found.is_right.sum()), len(head.found.is_right))
    return f"{named(head.stages, head.views)}: {right} in cross-validation"


def named(count: int, views: int) -> str:
    layers = "stage" if count == 1 else f"{count} stages"
    return f"head on the last {layers}, {plural(views, 'view')} of an image"


def with_interval(right: int, images: int) -> str:
    """Return an accuracy with its 95 % interval (Wilson 1927)."""
    found = binomtest(right, images).proportion_ci(method="wilson")
    return f"{right / images:.3f} ({found.low:.3f} to {found.high:.3f}) of {images} images right"
