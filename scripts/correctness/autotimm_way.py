"""AutoTimm's own module, freezing and Trainer, with the packaged weights."""

from pathlib import Path

from correctness.experiment import CLASSES, LEARNING_RATE, FirstBatch, Trained, batches, pretrained_backbone


def train_autotimm(folder: Path, epochs: int, resume: int | None) -> Trained:
    """Fit `ImageClassifier(freeze_backbone=True)`, without its search for rates and without compiling."""
    from autotimm import AutoTrainer, BackboneConfig, ImageClassifier
    from pytorch_lightning.callbacks import ModelCheckpoint

    module = ImageClassifier(
        BackboneConfig("tf_efficientnet_lite0", pretrained=False),
        num_classes=CLASSES,
        freeze_backbone=True,
        compile_model=False,
        scheduler=None,
        lr=LEARNING_RATE,
        seed=0,
        deterministic=False,
    )
    module.backbone.load_state_dict(pretrained_backbone().network.state_dict())
    first = FirstBatch(module.backbone)
    trainer = AutoTrainer(
        max_epochs=epochs,
        accelerator="cpu",
        tuner_config=False,
        callbacks=[ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches(), ckpt_path=str(folder / f"epoch={resume - 1}.ckpt") if resume else None)
    optimized = [tensor for group in trainer.optimizers[0].param_groups for tensor in group["params"]]
    return Trained(module, module.backbone, optimized, first.gap)
