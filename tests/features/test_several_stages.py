# room: features
"""Cached features of several stages."""

from pathlib import Path

import torch

from graft.models.checkpoints import load_classifier
from tests.conftest import MakeConfig, trained


def test_cached_features_the_solved_head_and_the_exported_network_have_the_stages(
    make_config: MakeConfig,
) -> None:
    config = make_config("model.stages=3", "head.solver=lbfgs", "features.cache=true")

    assert trained(config)["test/accuracy"] == 1.0

    classifier = load_classifier(Path(config.callbacks.checkpoint.dirpath, "best.ckpt")).classifier
    images = torch.randn(2, 3, 32, 32)
    program = torch.export.export(classifier, (images,), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), classifier(images))
