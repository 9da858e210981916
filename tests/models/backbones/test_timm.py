"""The smallest network of every family of timm: features, stages; tags, files and preprocessing."""

import math
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import timm
import timm.data
import torch

from graft.errors import UserError
from graft.models.backbones import build_backbone, stages
from tests.models.backbones.conftest import StageOrder

# Chosen once, by number of parameters, from timm.list_models(module=...) of each of its modules.
SMALLEST = """
beit_base_patch16_224 halonet_h1 mobileone_s1 cait_xxs24_224 coat_tiny convit_tiny
convmixer_768_32 test_convnext cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s
cspnext_tiny davit_tiny deepseek_vit_412m deit_tiny_patch16_224 densenet121 dla46x_c dpn48b
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_lite0 efficientvim_m1
efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf
gcvit_xxtiny gemma4_vit_167m ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224
sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3
inception_v4 lcnetv2_small levit_128s lowformer_b0 test_mambaout coatnet_pico_rw_224
poolformerv2_s12 gmlp_ti16_224 mobilenetv3_small_050 mobilenetv5_base mobilevit_xxs mvitv2_tiny
naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small nf_regnet_b0 pit_ti_224
pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m1
res2next50 resnest14d resnet10t resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18
sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m
twins_svt_small vgg11 visformer_tiny test_vit vit_tiny_r_s16_p8_224 test_vit_relpos
samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw legacy_xception
xception41p xcit_nano_12_p8_224
""".split()  # noqa: SIM905 -- as a list it would be a page


def test_the_matrix_has_more_than_sixty_families() -> None:
    assert len(set(SMALLEST)) > 60


@pytest.mark.parametrize("name", SMALLEST)
def test_every_family_yields_features_in_the_order_of_its_stages(name: str, stage_order: StageOrder) -> None:
    with torch.device("meta"):
        backbone = build_backbone("timm", name, weights=None).eval()
        images = torch.empty(2, 3, *backbone.preprocessing.crop)
        features, order = stage_order(backbone, images)
    placed = [parameter for stage in stages(backbone) for parameter in stage.parameters]
    names = [stage.name for stage in stages(backbone)]

    assert features.shape == (2, backbone.num_features)
    assert sorted(placed) == sorted(n for n, _ in backbone.named_parameters())
    assert len(names) == len(set(names)) >= 4
    assert names[0] == "stem"
    assert "head" not in names
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "convnext_tiny.in12k_ft_in1k_384", "test_vit"])
def test_the_preprocessing_is_that_of_timms_own_transform(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone("timm", name, weights=None)
    config = timm.data.resolve_data_config(model=backbone.network)
    resize, crop, _, normalize = timm.data.create_transform(**config, is_training=False).transforms
    found = backbone.preprocessing
    side = resize.size if isinstance(resize.size, (tuple, list)) else (resize.size,)

    assert found.resize == tuple(side)
    assert found.crop == tuple(crop.size)
    assert found.interpolation == resize.interpolation.value
    assert found.mean == pytest.approx(normalize.mean.tolist())
    assert found.std == pytest.approx(normalize.std.tolist())
    assert found.antialias


def test_a_image_size_in_the_options_is_the_size_of_the_preprocessing() -> None:
    backbone = build_backbone("timm", "test_vit", None, {"img_size": 96})
    config = timm.get_pretrained_cfg("test_vit")

    assert backbone.preprocessing.crop == (96, 96)
    assert backbone.preprocessing.resize == (math.floor(96 / config.crop_pct),)
    assert backbone(torch.randn(1, 3, 96, 96)).shape == (1, backbone.num_features)


def hub_folder(monkeypatch: pytest.MonkeyPatch, folder: Path, repository: str) -> Path:
    """Make a Hugging Face cache with one empty snapshot of a repository; return the snapshot."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    root = folder / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc", encoding="utf-8")
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    return snapshot


def test_default_weights_come_from_the_hubs_cache_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = timm.create_model("test_efficientnet")
    snapshot = hub_folder(monkeypatch, tmp_path, "timm/test_efficientnet.r160_in1k")
    safetensors.torch.save_file(network.state_dict(), snapshot / "model.safetensors")

    backbone = build_backbone("timm", "test_efficientnet")

    assert backbone.weights == "r160_in1k (timm)"
    loaded = backbone.network.get_parameter("conv_stem.weight")
    torch.testing.assert_close(loaded, network.get_parameter("conv_stem.weight"))
    assert "state_dict" not in vars(backbone.network)["pretrained_cfg"]  # A second copy in memory.


def test_weights_whose_authors_gave_numpy_archives_come_from_the_hub_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timm.get_pretrained_cfg("vit_tiny_patch16_224").custom_load
    network = timm.create_model("vit_tiny_patch16_224")
    snapshot = hub_folder(monkeypatch, tmp_path, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    safetensors.torch.save_file(network.state_dict(), snapshot / "model.safetensors")

    backbone = build_backbone("timm", "vit_tiny_patch16_224")

    assert torch.equal(backbone.network.get_parameter("pos_embed"), network.get_parameter("pos_embed"))


def test_a_damaged_file_in_the_hubs_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = hub_folder(monkeypatch, tmp_path, "timm/test_efficientnet.r160_in1k")
    (snapshot / "model.safetensors").write_bytes(b"half a file")

    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        build_backbone("timm", "test_efficientnet")


def test_a_hub_that_does_not_answer_is_one_quick_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", CLOSED)

    with pytest.raises(UserError) as caught:
        build_backbone("timm", "test_efficientnet")

    for words in ("test_efficientnet.r160_in1k", "model.weights=PATH", "efficientnet_lite0"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


CLOSED = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"


def test_a_tag_is_part_of_the_rebuilt_networks_name() -> None:
    with torch.device("meta"):
        backbone = build_backbone("timm", "convnext_tiny.in12k_ft_in1k_384", None)

    assert backbone.spec()["name"] == "convnext_tiny.in12k_ft_in1k_384"
    assert backbone.preprocessing.crop == (384, 384)


def test_a_file_in_the_authors_own_format_is_converted_as_timm_does(tmp_path: Path) -> None:
    network = timm.create_model("test_convnext", num_classes=1000)
    # Facebook's ConvNeXt files name the classification layer and the last norm otherwise.
    names = {"head.norm": "norm", "head.fc": "head", "stem.": "downsample_layers.0."}
    state = OrderedDict(network.state_dict())
    for key in list(state):
        for new, old in names.items():
            if key.startswith(new):
                state[key.replace(new, old, 1)] = state.pop(key)
                break
        else:
            renamed = key.replace(".conv_dw.", ".dwconv.").replace(".mlp.fc", ".pwconv")
            if ".downsample." in renamed:
                stage = renamed.split(".")[1]
                renamed = renamed.replace(f"stages.{stage}.downsample", f"downsample_layers.{stage}")
            state[renamed.replace(".blocks.", ".")] = state.pop(key)
    torch.save({"model": state}, tmp_path / "convnext.pth")

    backbone = build_backbone("timm", "test_convnext", str(tmp_path / "convnext.pth"))

    own = backbone.network.state_dict()
    for key, value in network.state_dict().items():
        if not key.startswith("head.fc"):
            torch.testing.assert_close(own[key], value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("timm", "test_eficientnet"), ["model.name=test_eficientnet", "'test_efficientnet'"]),
        (("timm", "resnet50", "a1_in1kk"), ["model.weights=a1_in1kk", "'a1_in1k'"]),
        (("timm", "resnet50.a1_in1k", "a2_in1k"), ["one tag"]),
        (("timm", "test_vit", None, {"wrong": 1}), ["model.options", "wrong"]),
        (("timm", "resnet10t", "null"), ["model.weights=null"]),
    ],
)
def test_a_mistake_is_named_in_one_line(arguments: tuple[str, str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_backbone(*arguments)

    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
