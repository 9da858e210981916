"""Show what a prediction is based on: python scripts/explain.py checkpoint=best.ckpt input=FOLDER

Writes a PNG for each image: the image, and beside it a Grad-CAM heat map of its predicted label or number,
from purple (least) to yellow (most) over the image in grey. The exit code is 3 where images are unreadable.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from graft.cli.script_settings import Checkpoint, File, Indices, Names, run_script
from graft.errors import UserError, import_extra
from graft.settings import PathText, Settings, Share


class ExplainSettings(Settings):
    """The settings of explain.py."""

    checkpoint: Checkpoint = Field(description="a checkpoint of a convolutional network, or a run's folder")
    input: PathText = Field(description="a folder, a quoted pattern such as 'FOLDER/**/*.jpg', or a file")
    output: File = Field(Path("explanations"), description="the folder to write to")
    bands: Indices | None = Field(
        None, description="three bands to show as red, green and blue, or one; the first ones"
    )
    opacity: Share = Field(
        0.5, description="of the heat map: 0 shows the grey image alone, 1 the colours alone"
    )
    allow: Names = Field([], description="packages that the model may import, of networks or metrics")


def work(settings: dict[str, Any]) -> int:
    """Write the heat maps and print the labels; return 3 where images are unreadable."""
    # Here, so that mistakes in the settings are told before torch loads.
    from graft.inference.explanation import explain, refuse_exported, side_by_side
    from graft.inference.search import base_folder, find_images
    from graft.memory import keep_freed_memory
    from graft.models.checkpoints import load_classifier

    keep_freed_memory()
    import_extra("pytorch_grad_cam", "explain")
    checkpoint, source, output, allow = (settings[k] for k in ("checkpoint", "input", "output", "allow"))
    refuse_exported(checkpoint)
    searched = Path(source).expanduser()
    if searched.is_dir() and output.resolve().is_relative_to(searched.resolve()):
        raise UserError(f"output={output} lies in input={source}: the heat maps would be explained too.")
    base, unreadable, written = base_folder(source), 0, set[Path]()
    loaded = load_classifier(checkpoint, allow)
    images = find_images(source, loaded.preprocessing.channels)
    for one in explain(loaded, images, settings["bands"], allow, settings["opacity"]):
        if one.overlay is None:
            unreadable += 1
            sys.stdout.write(f"{one.path}  cannot be read: {one.error}\n")
            continue
        file = output / one.path.relative_to(base).with_suffix(".png")
        if file in written:  # a.jpg and a.png may lie side by side.
            file = file.with_name(f"{one.path.name}.png")
        written.add(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        side_by_side(one).savefig(file)
        probability = "" if one.probability is None else f"  {one.probability:.4f}"
        sys.stdout.write(f"{one.path}  {one.label}{probability}  {file}\n")
    return 3 if unreadable else 0


def main(arguments: Sequence[str]) -> int:
    """Run the script with these arguments and return the exit code."""
    return run_script(arguments, __doc__ or "", ExplainSettings, work, ("checkpoint", "input"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
