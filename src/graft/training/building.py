"""Builds what a run is made of from its settings: task, classifier, data, phases, module."""

from typing import Any

import lightning as L
from hydra.utils import instantiate
from torch import nn

from graft.data.labelled_images import LabelledImages
from graft.data.module import ImageDataModule
from graft.features.head_solver import with_solved_head  # room: features
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import describe
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, named_stages
from graft.models.norm_layers import resolve_norm
from graft.tasks.task import Task
from graft.training.compilation import resolve_compile
from graft.training.module import TransferModule
from graft.training.optimizers import LearningRates
from graft.training.regularisation import batch_mixing
from graft.training.resumable_settings import settings_that_matter
from graft.training.resuming import phase_settings

Settings = dict[str, Any]


def build_task(settings: Settings) -> Task:
    # `task.monitor` is only the default of `monitor`.
    task: Task = instantiate(
        {key: value for key, value in settings.items() if key != "monitor"},
        _recursive_=False,
        _convert_="all",
    )
    return task


def build_classifier(settings: Settings, images: LabelledImages) -> Classifier:
    size = settings["data"]["image_size"]
    backbone = build_backbone(**settings["model"], image_size=size, channels=images.channels)
    return Classifier(backbone, build_head(backbone, len(images.task.columns), **head_layers(settings)))


def head_layers(settings: Settings) -> Settings:
    """Return the settings that say what the head is made of, not how it is trained."""
    return {key: settings["head"][key] for key in ("dropout", "hidden")}


def build_data(settings: Settings, images: LabelledImages, classifier: Classifier) -> ImageDataModule:
    own = settings["data"]
    loading = ("batch_size", "num_workers", "seed", "balanced", "cache", "cache_dir", "cache_limit_gb")
    return ImageDataModule(
        images,
        images.preprocessing(classifier.backbone.preprocessing, own["image_size"], own["fit"]),
        instantiate(own["augmentation"], _recursive_=False, _convert_="all"),
        **{key: own[key] for key in loading},
    )


def build_loss(settings: Settings, images: LabelledImages) -> nn.Module:
    return images.task.training_loss(settings["loss"], [sample.target for sample in images.samples["train"]])


def plan_phases(settings: Settings, classifier: Classifier, loss: nn.Module) -> list[Phase]:
    schedule = instantiate(settings["finetuning"]["schedule"], _convert_="all")
    phases: list[Phase] = schedule(
        named_stages(classifier), settings["freeze"], settings["trainer"]["max_epochs"]
    )
    head, rate = settings["head"], settings["learning_rate"]  # room: features
    if solver := head["solver"]:  # room: features
        return with_solved_head(phases, solver, classifier.head, rate, loss, head["l2"])  # room: features
    return phases


def build_module(
    settings: Settings,
    trainer: L.Trainer,
    data: ImageDataModule,
    classifier: Classifier,
    loss: nn.Module,
    phases: list[Phase],
) -> TransferModule:
    """Return the module that trains the classifier as the settings say."""
    task, finetuning, regularisation = data.images.task, settings["finetuning"], settings["regularisation"]
    samples = data.images.samples["train"]
    passes = len(samples) * sum(phase.epochs for phase in phases if phase.trainable != (HEAD,))
    device = trainer.strategy.root_device.type
    module = TransferModule(
        classifier,
        task,
        loss=loss,
        optimizer=instantiate(settings["optimizer"], _convert_="all"),
        scheduler=instantiate(settings["scheduler"]),
        learning_rates=LearningRates(
            settings["optimizer"]["lr"], finetuning["head_lr_multiplier"], finetuning["layer_decay"]
        ),
        phases=phases,
        norm=resolve_norm(finetuning["norm"], classifier.backbone),
        l2_sp=regularisation["l2_sp"],
        mix=batch_mixing(task, loss, regularisation["mixup"], regularisation["cutmix"]),
        compiled=resolve_compile(settings["compile"], device, passes),
    )
    module.description = describe(
        classifier.backbone, head_layers(settings), task.describe(), data.preprocessing
    )
    module.description |= {
        "settings": settings_that_matter(settings, trainer),
        "max_epochs": settings["trainer"]["max_epochs"],
        "phases": phase_settings(phases),
        "images": data.images.digest(),
    }
    return module
