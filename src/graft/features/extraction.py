"""Runs a frozen backbone over the views of images whose features are not stored yet."""

import logging
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from graft.errors import UserError
from graft.features.store import FeatureStore

log = logging.getLogger(__name__)

SEGMENT = 1 << 24  # bytes after which rows are written: an interruption loses at most these


def extract_missing(
    store: FeatureStore,
    keys: np.ndarray,
    views: Dataset[Tensor],
    extract: Callable[[Tensor], Tensor],
    batch_size: int,
    num_workers: int,
) -> None:
    """Store the rows of all keys `[n]` that are missing, each once.

    `views[i]` is the image `[C, H, W]` of key i; `extract` maps images to features `[B, width]`.
    """
    absent = np.flatnonzero(store.locate(keys)[:, 0] < 0)
    missing = absent[np.sort(np.unique(keys[absent], return_index=True)[1])]
    log.info("features   %d of %d are stored in %s", len(keys) - len(absent), len(keys), store.folder)
    if not len(missing):
        return
    began = time.monotonic()
    loader = DataLoader(
        Subset(views, missing.tolist()),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # A loader without its own draws from the global one.
    )
    done, rows = 0, []
    console, is_watched = Console(stderr=True), sys.stderr.isatty()
    for images in track(loader, "caching features", console=console, transient=True, disable=not is_watched):
        rows.append(as_stored(extract(images).cpu().numpy(), store.dtype))
        waiting = sum(map(len, rows))
        is_last = done + waiting == len(missing)
        if is_last or waiting * store.width * store.dtype.itemsize >= SEGMENT:
            store.add(keys[missing[done : done + waiting]], np.concatenate(rows))
            done, rows = done + waiting, []
    seconds = time.monotonic() - began
    log.info("features   %d computed in %.1f s, %.0f a second", done, seconds, done / seconds)
    store.refresh()


def as_stored(features: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the features as `dtype`; UserError where finite ones overflow."""
    with np.errstate(over="ignore"):
        stored = features.astype(dtype)
    if not np.isfinite(stored).all() and np.isfinite(features).all():
        raise UserError(
            f"features.dtype={dtype}: a feature of {np.abs(features).max():g} is too large for it; "
            "write features.dtype=float32."
        )
    return stored
