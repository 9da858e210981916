"""Pretrained networks without their classification layer, from torchvision, timm or a Python package."""

from graft.models.backbones.backbone import Backbone
from graft.models.backbones.building import build_backbone, rebuild_backbone
from graft.models.backbones.heads import build_head
from graft.models.backbones.stages import Stage, stages

__all__ = ["Backbone", "Stage", "build_backbone", "build_head", "rebuild_backbone", "stages"]
