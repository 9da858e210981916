"""Fetches weights into torch's cache; a failed download says which file a person can bring instead."""

import hashlib
import http.client
import logging
import re
import socket
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import torch

from graft.errors import UserError, reason

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds without an answer
OFFLINE_CHOICE = "model=efficientnet_lite0 needs no download"
FAILURES = (OSError, http.client.HTTPException, ValueError, RuntimeError)


def download(url: str) -> Path:
    """Return the file of a URL: itself (file:), from torch's cache, or downloaded into it.

    A checksum in the file's name (`resnet18-f37072fd.pth`) is verified on download.
    Raises UserError where the download fails.
    """
    if url.startswith("file:"):
        return Path(url2pathname(urlparse(url).path))
    target = cache_path(url)
    if target.is_file():
        return target
    log.info("downloading %s to %s", url, target)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # urllib itself would wait for ever.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), checksum(target.name), sys.stderr.isatty())
    except FAILURES as error:
        raise UserError(
            f"{url} could not be downloaded ({reason(error)}); put a copy of it at {target}, "
            f"or write model.weights=PATH with the file; {OFFLINE_CHOICE}."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return target


def cache_path(url: str) -> Path:
    """Return where torch stores a URL's file; a name without a checksum gets a hash of the URL before it."""
    name = Path(unquote(urlparse(url).path)).name or "weights"
    if checksum(name) is None:
        name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}_{name}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def checksum(name: str) -> str | None:
    match = re.search(r"-([0-9a-f]{8,64})\.", name)
    return match.group(1) if match else None
