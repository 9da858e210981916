"""What the Trainer is built with: precision and devices of this machine, never hoped for."""

import logging

import pytest
import torch

from graft.errors import UserError
from graft.training.trainer import check_devices, resolve_accelerator, resolve_precision


def test_auto_precision_is_32_bits_on_a_cpu() -> None:
    assert resolve_precision("auto", "cpu") == "32-true"


def test_an_asked_precision_is_kept() -> None:
    assert resolve_precision("64", "cpu") == "64"


def test_float16_on_a_cpu_is_refused_not_replaced() -> None:
    with pytest.raises(UserError, match=r"trainer\.precision=16-mixed"):
        resolve_precision("16-mixed", "cpu")


def test_an_emulated_precision_is_a_warning_that_names_the_measured_slowdown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("graft.training.trainer.bfloat16_slowdown", lambda: 7.5)
    with caplog.at_level(logging.WARNING):
        assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert "7.5 times as long" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert resolve_accelerator("auto") in ("cpu", "mps")
    if not torch.backends.mps.is_available():
        with pytest.raises(UserError, match="no GPU"):
            resolve_accelerator("gpu")


@pytest.mark.parametrize("devices", [2, [0, 1]])
def test_more_devices_than_there_are_is_refused(devices: int | list[int]) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices"):
        check_devices("auto", "cpu", devices)


@pytest.mark.parametrize("devices", [1, [0], "auto"])
def test_devices_that_are_there_are_accepted(devices: int | str | list[int]) -> None:
    check_devices("auto", "cpu", devices)
