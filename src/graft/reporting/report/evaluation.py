"""The report of a model on labelled images: what `scripts/evaluate.py` measured, as a page."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from graft.data.sample import Sample
from graft.data.threads import usable_cpus
from graft.inference.evaluation import Evaluation, trained_on
from graft.inference.explanation import Overlays
from graft.inference.model import Model
from graft.reporting.report.data import data_parts
from graft.reporting.report.page import write_page
from graft.reporting.report.tested import Outcome, parts_of_test


def write_evaluation_report(
    file: Path,
    found: Evaluation,
    model: Model,
    checkpoint: Path,
    root: Path,
    command: str,
    allow: Sequence[str] = (),
) -> None:
    """Write the report of an evaluation as one HTML file: without what is about training."""
    task, preprocessing, overlays = model.task, model.preprocessing, Overlays(checkpoint, allow)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        samples = list(pool.map(partial(with_digest, root), found.samples))
    tested = Outcome(root, samples, task, preprocessing, found.logits, found.targets, overlays)
    split = samples[0].split or ""
    name = split or "images"
    parts = {
        "title": f"{checkpoint.name} on {root.name}",
        "which": split,
        **data_parts(root, {name: samples}, task, preprocessing, name),
        **parts_of_test(tested),
        "limit": None,
        "trained_on": trained_on(checkpoint, samples),
        "training": None,
        "advice": [],
        "provenance": {"model": checkpoint},
        "command": command,
        "config": "",
    }
    write_page(file, parts)


def with_digest(root: Path, sample: Sample) -> Sample:
    digest = hashlib.blake2b((root / sample.path).read_bytes(), digest_size=16)
    return replace(sample, digest=digest.hexdigest())
