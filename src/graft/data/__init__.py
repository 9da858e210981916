"""Folders of labelled pictures: scanning, splitting, checking, decoding, batches."""

from graft.data.module import ElpvDataModule, ImageFolderDataModule

__all__ = ["ElpvDataModule", "ImageFolderDataModule"]
