"""Runs a frozen backbone over the views of images whose features are not stored yet."""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from graft.errors import UserError
from graft.features.store import FeatureStore

log = logging.getLogger(__name__)

MOST_AT_ONCE = 4  # batches; Python's own part of each is not shared
SEGMENT = 1 << 24  # bytes after which rows are written: an interruption loses at most these


def extract_missing(
    store: FeatureStore,
    keys: np.ndarray,
    views: Dataset[Tensor],
    extract: Callable[[Tensor], Tensor],
    batch_size: int,
    num_workers: int,
    at_once: int,
) -> None:
    """Store the rows of all keys `[n]` that are missing, each once.

    `views[i]` is the image `[C, H, W]` of key i; `extract` maps images to features `[B, width]`; `at_once`
    parts of a batch are computed at the same time.
    """
    absent = np.flatnonzero(store.locate(keys)[:, 0] < 0)
    missing = absent[np.sort(np.unique(keys[absent], return_index=True)[1])]
    log.info("features   %d of %d are stored in %s", len(keys) - len(absent), len(keys), store.folder)
    if not len(missing):
        return
    began = time.monotonic()
    loader = DataLoader(
        Subset(views, missing.tolist()),
        batch_size=max(1, batch_size // at_once),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # A loader without its own draws from the global one.
    )
    done, rows = 0, []
    features_of_batches = track(
        computed(loader, extract, at_once),
        "caching features",
        len(loader),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    for features in features_of_batches:
        rows.append(as_stored(features.cpu().numpy(), store.dtype))
        waiting = sum(map(len, rows))
        is_last = done + waiting == len(missing)
        if is_last or waiting * store.width * store.dtype.itemsize >= SEGMENT:
            store.add(keys[missing[done : done + waiting]], np.concatenate(rows))
            done, rows = done + waiting, []
    seconds = time.monotonic() - began
    log.info("features   %d computed in %.1f s, %.0f a second", done, seconds, done / seconds)
    store.refresh()


def computed(
    batches: Iterable[Tensor], extract: Callable[[Tensor], Tensor], at_once: int
) -> Iterator[Tensor]:
    """Yield the features of every batch, in order, computed so many at a time, with torch's threads divided.

    Threads that share a batch wait for each other in every layer, and longer where a decoder holds one up.
    """
    if at_once == 1:
        yield from map(extract, batches)
        return
    threads = torch.get_num_threads()
    begun: deque[Future[Tensor]] = deque()
    try:
        with ThreadPoolExecutor(at_once, "features", torch.set_num_threads, (threads // at_once,)) as pool:
            for images in batches:
                begun.append(pool.submit(extract, images))
                if len(begun) > at_once:
                    yield begun.popleft().result()
            yield from (future.result() for future in begun)
    finally:
        torch.set_num_threads(threads)


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
