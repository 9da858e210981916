"""The report of a model on labelled images: what `scripts/evaluate.py` measured, as a page."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from graft.data.folder import Sample
from graft.data.threads import usable_cpus
from graft.inference.evaluation import Evaluation
from graft.inference.explanation import Overlays
from graft.inference.model import Model
from graft.reporting.report.data import data_parts
from graft.reporting.report.origin import now, versions
from graft.reporting.report.page import Scored, parts_of_test, write_page


def write_evaluation_report(
    file: Path, found: Evaluation, model: Model, checkpoint: Path, root: Path, command: str
) -> None:
    """Write the report of an evaluation as one HTML file: without what is about training."""
    split = found.samples[0].split or ""
    scored = Scored(
        root=root,
        samples=found.samples,
        class_names=model.class_names,
        probabilities=found.logits.float().softmax(dim=1).numpy(),
        labels=found.labels.numpy(),
        overlays=Overlays(checkpoint),
        temperature=None if model.temperature == 1.0 else model.temperature,
    )
    name = split or "images"
    parts = {
        "title": f"{checkpoint.name} on {root.name}",
        "date": now(),
        "which": split,
        **data_parts(root, {name: with_digests(root, found.samples)}, model.class_names, name),
        **parts_of_test(scored),
        "training": None,
        "advice": [],
        "provenance": {"model": checkpoint, **versions()},
        "command": command,
        "config": "",
    }
    write_page(file, parts)


def with_digests(root: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with a hash of each file, as a run's samples have."""

    def digest(sample: Sample) -> Sample:
        contents = (root / sample.path).read_bytes()
        return replace(sample, digest=hashlib.blake2b(contents, digest_size=16).hexdigest())

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(digest, samples))
