"""Pretrained networks without their classification layer, from torchvision, timm or a Python package."""

from graft.backbones.backbone import Backbone, build_backbone, rebuild_backbone
from graft.backbones.heads import build_head
from graft.backbones.stages import Stage, stages

__all__ = ["Backbone", "Stage", "build_backbone", "build_head", "rebuild_backbone", "stages"]
