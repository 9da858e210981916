"""Weights from the cache, a file, a URL: what is loaded, and what is refused in one clear line."""

import hashlib
import http.server
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from graft.errors import UserError
from graft.models.backbones import Backbone, build_backbone
from graft.models.backbones.sources.torchvision import build

CACHED = "resnet18-f37072fd.pth"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of a ResNet-18 that no one else has."""
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server on this machine that serves `tmp_path`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_loaded(backbone: Backbone, state: State) -> None:
    own = backbone.network.state_dict()
    for key, value in own.items():
        torch.testing.assert_close(value, state[key])


def refusal(weights: str | Path, name: str = "resnet18", source: str = "torchvision") -> str:
    with pytest.raises(UserError) as caught:
        build_backbone(source, name, str(weights))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("weights", ["default", "IMAGENET1K_V1"])
def test_default_weights_come_from_torchs_cache(weights: str, state: State, torch_home: Path) -> None:
    torch_home.mkdir(parents=True)
    torch.save(state, torch_home / CACHED)

    backbone = build_backbone("torchvision", "resnet18", weights)

    assert_loaded(backbone, state)
    assert backbone.weights == "IMAGENET1K_V1 (torchvision)"


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04 half a zip", b"\x80\x02half a pickle"])
def test_a_damaged_file_in_the_cache_is_named(content: bytes, torch_home: Path) -> None:
    torch_home.mkdir(parents=True)
    (torch_home / CACHED).write_bytes(content)

    message = refusal("default")

    assert str(torch_home / CACHED) in message
    assert "damaged" in message


def test_a_truncated_file_in_the_cache_is_named(state: State, torch_home: Path) -> None:
    torch_home.mkdir(parents=True)
    torch.save(state, torch_home / CACHED)
    os.truncate(torch_home / CACHED, 1_000_000)

    assert CACHED in refusal("default")


def test_a_download_that_fails_is_one_quick_line(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # A closed port: no network, anywhere.
    began = time.monotonic()

    message = refusal("default")

    for words in ("https://download.pytorch.org", str(torch_home / CACHED), "model.weights=PATH"):
        assert words in message
    assert "model=efficientnet_lite0" in message
    assert time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_is_loaded(suffix: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(state, path)

    backbone = build_backbone("torchvision", "resnet18", str(path))

    assert_loaded(backbone, state)
    assert backbone.weights == f"file mine{suffix}"
    assert backbone.preprocessing == build("resnet18", None, {}).preprocessing


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "classifier.backbone.network."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_a_nested_or_prefixed_file_is_loaded(
    prefix: str, nest: str | None, state: State, tmp_path: Path
) -> None:
    renamed = {prefix + key: value for key, value in state.items()}
    torch.save({nest: renamed, "epoch": 3} if nest else renamed, tmp_path / "mine.pth")

    assert_loaded(build_backbone("torchvision", "resnet18", str(tmp_path / "mine.pth")), state)


@pytest.mark.parametrize("key", ["fc.weight", "fc.1.weight"])
def test_a_file_with_another_head_is_loaded_and_the_log_says_so(
    key: str, state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = {k: v for k, v in state.items() if not k.startswith("fc.")}
    torch.save(other | {key: torch.zeros(5, 512)}, tmp_path / "mine.pth")

    with caplog.at_level("INFO"):
        assert_loaded(build_backbone("torchvision", "resnet18", str(tmp_path / "mine.pth")), state)

    assert f"left out ({key})" in caplog.text


def test_a_file_that_does_not_fit_is_counted_and_named(state: State, tmp_path: Path) -> None:
    other = {k.replace("layer4", "layer5"): v for k, v in state.items()}
    other["conv1.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(other, tmp_path / "mine.pth")

    message = refusal(tmp_path / "mine.pth")

    assert "mine.pth does not fit resnet18" in message
    assert "25 missing, first layer4.0.conv1.weight" in message
    assert "unexpected, first layer5.0.conv1.weight" in message
    assert "1 of another shape, first conv1.weight" in message


@pytest.mark.parametrize(("source", "name"), [("timm", "resnet18"), ("packaged", "efficientnet_lite0")])
def test_a_file_of_another_network_is_refused_by_every_source(source: str, name: str, tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "mine.pth")

    assert f"does not fit {name}" in refusal(tmp_path / "mine.pth", name, source)


def test_a_file_of_timms_resnet_fits_with_another_head(state: State, tmp_path: Path) -> None:
    other = {k: v for k, v in state.items() if not k.startswith("fc.")}
    torch.save({"state_dict": other | {"fc.weight": torch.zeros(5, 512)}}, tmp_path / "mine.pth")

    assert_loaded(build_backbone("timm", "resnet18", str(tmp_path / "mine.pth")), state)


class NeedsCode:
    """A Python object, as a whole pickled network is one."""


def test_a_file_that_is_no_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "notes.safetensors").write_text("no weights", encoding="utf-8")
    torch.save({"network": NeedsCode()}, tmp_path / "pickle.pth")
    torch.save([1, 2], tmp_path / "list.pth")

    assert "notes.pth is damaged or no weights file" in refusal(tmp_path / "notes.pth")
    assert "notes.safetensors is damaged or" in refusal(tmp_path / "notes.safetensors")
    assert "holds Python objects" in refusal(tmp_path / "pickle.pth")
    assert "holds no state dict" in refusal(tmp_path / "list.pth")


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "resnet.pth").touch()

    assert "Did you mean 'resnet.pth'?" in refusal(tmp_path / "resnett.pth")
    assert "there is no file" in refusal(tmp_path / "nowhere" / "resnet.pth")
    assert "is a folder" in refusal(f"{tmp_path}/")


def test_broken_numbers_are_refused(state: State, tmp_path: Path) -> None:
    torch.save(state | {"bn1.weight": torch.full((64,), torch.nan)}, tmp_path / "mine.pth")

    assert "bn1.weight holds NaN" in refusal(tmp_path / "mine.pth")


def test_a_url_is_downloaded_once(server: str, state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "mine.pth")
    build_backbone("torchvision", "resnet18", f"{server}/mine.pth")
    (tmp_path / "mine.pth").unlink()

    assert_loaded(build_backbone("torchvision", "resnet18", f"{server}/mine.pth"), state)
    assert "could not be downloaded" in refusal(f"{server}/other.pth")


def test_two_urls_with_one_file_name_are_two_files(server: str, state: State, tmp_path: Path) -> None:
    for folder, values in (("a", state), ("b", torchvision.models.resnet18().state_dict())):
        (tmp_path / folder).mkdir()
        torch.save(values, tmp_path / folder / "model.pth")
    build_backbone("torchvision", "resnet18", f"{server}/b/model.pth")

    assert_loaded(build_backbone("torchvision", "resnet18", f"{server}/a/model.pth"), state)


def test_a_download_with_a_wrong_checksum_is_refused(
    server: str, state: State, tmp_path: Path, torch_home: Path
) -> None:
    torch.save(state, tmp_path / "mine.pth")
    right = hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest()[:8]
    wrong = f"{int(right, 16) ^ 1:08x}"
    for checksum in (right, wrong):
        (tmp_path / f"net-{checksum}.pth").write_bytes((tmp_path / "mine.pth").read_bytes())

    assert_loaded(build_backbone("torchvision", "resnet18", f"{server}/net-{right}.pth"), state)
    assert "invalid hash value" in refusal(f"{server}/net-{wrong}.pth")
    assert [file.name for file in torch_home.iterdir()] == [f"net-{right}.pth"]


def test_a_file_url_is_read_where_it_lies(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "mine.pth")

    assert_loaded(build_backbone("torchvision", "resnet18", (tmp_path / "mine.pth").as_uri()), state)


def test_random_weights_are_said_to_be_random(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        backbone = build_backbone("torchvision", "squeezenet1_1", None)

    assert backbone.weights == "random"
    assert "random weights" in caplog.text


@pytest.mark.parametrize("where", ["default", "file"])
def test_densenets_old_names_are_understood(where: str, tmp_path: Path, torch_home: Path) -> None:
    state = torchvision.models.densenet121().state_dict()
    # Files of that time have no counts of batches either.
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert old.keys() != state.keys()
    torch_home.mkdir(parents=True)
    torch.save(old, torch_home / "densenet121-a639ec97.pth")
    torch.save(old, tmp_path / "mine.pth")

    weights = "default" if where == "default" else str(tmp_path / "mine.pth")

    assert_loaded(build_backbone("torchvision", "densenet121", weights), state)


@pytest.mark.parametrize("file", ["mine.pth", "mine.safetensors"])
def test_mnasnet_is_loaded_with_its_version_and_without(file: str, tmp_path: Path) -> None:
    state = torchvision.models.mnasnet0_5().state_dict()
    save = torch.save if file.endswith(".pth") else safetensors.torch.save_file
    save(state, tmp_path / file)

    assert_loaded(build_backbone("torchvision", "mnasnet0_5", str(tmp_path / file)), state)


def test_a_file_before_batch_counts_is_loaded(state: State, tmp_path: Path) -> None:
    old = OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))
    torch.save(old, tmp_path / "mine.pth")

    assert_loaded(build_backbone("torchvision", "resnet18", str(tmp_path / "mine.pth")), state)
