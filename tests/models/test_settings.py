"""The settings of the network, from `train` on: what a run's header says, and what is refused at once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graft.cli.settings import check_settings
from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION, load_classifier
from tests.conftest import MakeConfig, run_checkpoint
from tests.conftest import trained as train


def test_a_name_alone_trains_at_the_size_of_the_images_and_the_checkpoint_rebuilds_it(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["model=any", "model.name=vit_tiny_patch16_224", "freeze=false", "trainer.max_epochs=1"]

    with caplog.at_level("INFO"):
        train(make_config(*settings))

    assert "vit_tiny_patch16_224 (timm)" in caplog.text
    assert "32x32 pixels" in caplog.text
    loaded = load_classifier(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert loaded.classifier.backbone.options == {"img_size": 32}
    assert loaded.classifier(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_the_preprocessing_of_a_checkpoint_is_used_and_the_header_says_so(
    make_config: MakeConfig, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    own = replace(load_classifier(checkpoint).preprocessing, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    content[DESCRIPTION]["preprocessing"] = own.to_dict()
    torch.save(content, checkpoint)

    with caplog.at_level("INFO"):
        train(make_config(f"model.weights={checkpoint}", "trainer.max_epochs=1"))

    assert "checkpoint tiny.ckpt of test_efficientnet (timm), with its preprocessing" in caplog.text
    assert run_checkpoint(tmp_path / "run")[DESCRIPTION]["preprocessing"] == own.to_dict()


REFUSED = [
    ("freeze=false data.batch_size=1", r"data\.batch_size=1: .*data\.batch_size=2"),
    ("freeze=1 data.batch_size=1", r"data\.batch_size=1: .*finetuning\.norm=frozen"),
    ("freeze=false regularisation.l2_sp=0.1", r"regularisation\.l2_sp=0\.1 .*model\.weights=null"),
    ("finetuning=select finetuning.train=[blocks.4.*]", r"finetuning\.train=\[blocks\.4\.\*\] leaves .*head"),
    (
        "model=torchvision model.name=inception_v3",
        r"data\.image_size=32: inception_v3 takes images of 75 pixels or more",
    ),
    ("model=any model.name=resnt34", r"model\.name=resnt34: .*'resnet34'"),
    ("model.weights_prefix=teacher", r"model\.weights_prefix=teacher .*model\.weights=null"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_training(
    make_config: MakeConfig, overrides: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(make_config(*overrides.split()))


def test_a_pull_of_a_frozen_backbone_is_refused(make_config: MakeConfig, checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"regularisation\.l2_sp=0\.1 .*stays frozen"):
        train(make_config(f"model.weights={checkpoint}", "freeze=true", "regularisation.l2_sp=0.1"))


def test_batches_of_one_train_where_norm_layers_are_held(make_config: MakeConfig) -> None:
    settings = ["freeze=false", "data.batch_size=1", "finetuning.norm=frozen", "trainer.max_epochs=1"]

    assert train(make_config(*settings))["epoch"] == 1


OWN = ["model=own", "model._target_=my_package.MyNet"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=own"], r"model\.source=module needs model\._target_ .*model\._target_=my_package\.MyNet"),
        (["model.source=torchvison"], r"model\.source=torchvison: .*'torchvision'.* Choices: .*timm"),
        (["+model._target_=my_package.MyNet"], r"model\._target_ .*model\.source=timm: write model=own"),
        ([*OWN, "model.preprocessing.std=[0,1,1]"], r"model\.preprocessing\.std=\[0,1,1\]"),
        ([*OWN, "model.preprocessing.size=0"], r"model\.preprocessing\.size=0: write a whole number"),
        ([*OWN, "model.preprocessing.interpolation=best"], r"model\.preprocessing\.interpolation=best"),
        (["finetuning=select", "finetuning.train=[]"], r"finetuning.*train=\[\]"),
        ([*OWN, "model._target_=MyNet"], r"model\._target_=MyNet: write the path of a class or function"),
    ],
)
def test_settings_of_the_network_that_do_not_fit_are_refused_before_torch_is_imported(
    make_config: MakeConfig, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_settings(make_config(*overrides))


def test_the_settings_of_an_own_network_are_accepted(make_config: MakeConfig) -> None:
    check_settings(make_config(*OWN))
