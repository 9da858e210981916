"""The first step of a recipe: linear heads on cached features, compared by cross-validation."""

import json
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
from scipy.stats import binomtest
from torch import nn

from graft.data.cache_folders import RECIPE
from graft.data.labelled_images import LabelledImages
from graft.data.splits import group_of
from graft.errors import UserError
from graft.features.cache import FeatureCache, number_of_views
from graft.features.cross_validation import CrossValidation, cross_validated
from graft.features.dataset import FeatureDataset
from graft.features.recipe import recipe, recipe_digest
from graft.features.store import FeatureStore
from graft.models.backbones import stages
from graft.models.freezing import HEAD, Phase, apply_phase
from graft.recipes.budget import Budget, measured_pace
from graft.recipes.plan import Plan, with_values
from graft.training.building import build_classifier, build_data, build_loss, plan_phases
from graft.training.summary import plural

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
        self.settings, self.images, self.trainer = settings, images, trainer
        narrow = build_classifier(settings, images)
        self.narrow = narrow.backbone
        self.data, loss = build_data(settings, images, narrow), build_loss(settings, images)
        plan_phases(with_values(settings, SOLVED), narrow, loss)  # Refuses what cannot be solved.
        assert isinstance(loss, nn.CrossEntropyLoss)
        self.loss = loss
        self.own = settings["model"]["stages"]
        self.most = max(self.own, min(SEVERAL_STAGES, len(stages(self.narrow)) - 1))
        self.wide = build_classifier(with_values(settings, {"model.stages": self.most}), images)
        if not self.narrow.auxiliary:  # `plan_phases` has removed them: a frozen backbone needs none.
            self.wide.backbone.remove_auxiliary_heads()
        self.wide.backbone.load_state_dict(self.narrow.state_dict())  # `model.weights=null` is random.
        self.pace = measured_pace(self.wide, self.data, loss, trainer, ending)
        self.views = number_of_views("auto", self.data, Phase("head", (HEAD,), SEVERAL_VIEWS))
        self.cached: dict[int, FeatureDataset] = {}  # by the number of views

    def tried(self, count: int, views: int) -> Head:
        """Return the head on the last `count` stages and so many views of each training image."""
        width = (self.narrow if count == self.own else self.wide.backbone).num_features
        groups = [group_of(sample) for sample in self.images.samples["train"]]
        features = self.features(views).part(width=width)
        return Head(count, views, cross_validated(features, groups, len(self.images.task.columns), self.loss))

    def features(self, views: int) -> FeatureDataset:
        """Return those of the training images, of the most stages; those of validation are cached too."""
        if views in self.cached:
            return self.cached[views]
        apply_phase(self.wide, FROZEN)
        mixes = any(self.settings["regularisation"][key] for key in ("mixup", "cutmix"))
        cache = replace(FeatureCache(**self.settings["features"]), views=views)
        found = cache.features(self.wide, self.data, self.trainer, FROZEN, ("train", "val"), mixes)
        if not found:
            raise UserError(
                "recipe=auto needs cached features, which these settings do not allow; leave features.cache "
                "and features.views out, or write features.cache=true, which says what is in the way."
            )
        self.cached[views] = found["train"]
        return found["train"]

    def share_features(self, views: int) -> None:
        """Let the network of fewer stages find its features: they are the last columns of those of more."""
        wide, width = self.features(views).store, self.narrow.num_features
        precision, device = str(self.trainer.precision), self.trainer.strategy.root_device
        made_by = recipe(self.narrow, self.data.preprocessing, str(wide.dtype), precision, device)
        made_by["engine"] = json.loads((wide.folder / RECIPE).read_text(encoding="utf-8"))["engine"]
        folder = self.data.cache_room.features / recipe_digest(made_by)
        with self.data.cache_room.filling(folder, made_by) as use:
            store = FeatureStore(folder, width, str(wide.dtype), use)
            for segment in wide.segments:
                missing = store.locate(segment.keys)[:, 0] < 0
                if missing.any():
                    store.add(segment.keys[missing], segment.rows[missing, -width:])


def choose_head(search: HeadSearch, plan: Plan, budget: Budget) -> None:
    """Put the settings of the best head into the plan: of one stage or several, of one view or several.

    More of either is taken where it lowers the loss by more than the standard error of the difference, and no
    fewer images are right.
    """
    search.features(1)
    before = budget.left()
    best = search.tried(search.own, 1)
    seconds = before - budget.left()
    plan.note(described(best))
    for count, views in ((search.most, 1), (None, search.views)):
        count = count or best.stages
        if (count, views) == (best.stages, best.views):
            continue
        cost = views * seconds + (views - 1) * search.pace.evaluate("train")
        spare = budget.left() - search.pace.after_fit
        can_fine_tune = search.pace.fewest_epochs * search.pace.epoch < spare
        if cost > (SHARE * spare if can_fine_tune else spare):
            left = f"{max(0, spare):.0f} s are left"
            plan.note(f"{named(count, views)}: left out, it would take about {cost:.0f} s, and {left}")
            continue
        other = search.tried(count, views)
        gains = best.found.losses - other.found.losses
        gain, error = float(gains.mean()), float(gains.std()) / len(gains) ** 0.5
        is_better = gain > error and other.found.accuracy >= best.found.accuracy
        plan.note(f"{described(other)}, loss {-gain:+.4f} ± {error:.4f}: {'' if is_better else 'not '}taken")
        best = other if is_better else best
    if best.stages < search.most:
        search.share_features(best.views)
    plan.settings = best.settings
    plan.write()


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
