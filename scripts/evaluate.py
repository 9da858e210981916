"""Measure a model on labelled pictures: python scripts/evaluate.py checkpoint=best.ckpt data.root=FOLDER

FOLDER/CLASS/*.jpg: all pictures. FOLDER/{train,val,test}/CLASS/*.jpg, or data.splits: those of a split.
"""

import sys
from collections.abc import Sequence
from typing import Any

from graft.cli.script_settings import Setting, checkpoint, one_of, path, run_script, whole_number

SETTINGS = {
    "checkpoint": Setting(checkpoint, "a checkpoint, or a file that export.py wrote", is_needed=True),
    "data.root": Setting(path, "the folder of labelled pictures", is_needed=True),
    "data.layout": Setting(
        one_of("auto", "classes", "splits"), "what the top folders are; auto: by their names", "auto"
    ),
    "data.splits": Setting(path, "a run's splits.csv, which says the split of each picture"),
    "split": Setting(one_of("train", "val", "test"), "which split; test where there is one"),
    "output": Setting(path, "a .json file to write the metrics to as well"),
    "report": Setting(path, "a .html file to write metrics, figures and mistakes to, as a run does"),
    "batch_size": Setting(whole_number(1), "pictures that go through the network at once", 32),
}


def work(settings: dict[str, Any]) -> int:
    """Print the metrics and write them where `output` says."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.evaluation import write_evaluation

    root, splits = settings.pop("data.root"), settings.pop("data.splits")
    layout = settings.pop("data.layout")
    write_evaluation(root=root, splits_file=splits, layout=layout, **settings)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", SETTINGS, work, ("checkpoint", "data.root"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
