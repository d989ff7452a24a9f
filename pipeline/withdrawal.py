"""Driver: take back what `verify` found to be wrong, so that the next run makes it again.

Of bytes that are not as they were written, that is these bytes: what was made from them was made
before they changed. A result that does not mean what it should was wrong from the beginning, and so
is everything that was made from it.
"""

from __future__ import annotations

from clustergrid.pipeline.drawing import forget_picture, picture_stages
from clustergrid.pipeline.passes import drop_pieces
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import Damage

__all__ = ["withdraw"]

_SHOWN = ("outputs", "image", "pyramid", "reordered")
_TREES = tuple(f"linkage-{axis}" for axis in AXIS_NAMES)
_DISTANCES = tuple(f"distance-{axis}" for axis in AXIS_NAMES)

_MADE_FROM: dict[str, tuple[str, ...]] = {
    # Of a matrix that is not normalized, too: distances are computed around its columns' means.
    "statistics": (*_SHOWN, "limits", "limits-robust", *_TREES, *_DISTANCES),
    **{stage: (*_SHOWN, tree) for stage, tree in zip(_DISTANCES, _TREES, strict=True)},
    **dict.fromkeys(_TREES, _SHOWN),
    "reordered": ("pyramid",),
}
"""What is made from the result of a stage besides pictures, the last first."""


def withdraw(directory: RunDirectory, damages: list[Damage]) -> None:
    """Take back the notes of what is damaged, and of what was made from values that were wrong.

    Parameters
    ----------
    directory
        The run directory, locked.
    damages
        What was found.
    """
    for stage in {damage.stage for damage in damages if not damage.by_meaning}:
        if stage in picture_stages(directory):
            forget_picture(directory, stage)
        else:
            directory.begin(stage)
        gone = {damage.file for damage in damages if damage.stage == stage}
        _forget(directory.manifest(stage), gone)
    wrong = {damage.stage for damage in damages if damage.by_meaning}
    if wrong:
        _withdraw_with_what_follows(directory, wrong)
    _put_reports_aside(directory, damages)
    directory.update(finished=None)


def _withdraw_with_what_follows(directory: RunDirectory, wrong: set[str]) -> None:
    """Take back stages whose results are wrong, and all that was made from these.

    What was wrong first is taken back last, in the state that the caller writes: whatever moment
    this is killed at, `verify` finds it again.
    """
    drop_pieces(directory)
    for stage in picture_stages(directory):
        forget_picture(directory, stage)
    following = dict.fromkeys(later for stage in wrong for later in _MADE_FROM.get(stage, ()))
    for stage in following:
        directory.begin(stage)
        directory.manifest(stage).remove()
    for stage in wrong.difference(following):
        # Before the stage: a run keeps the chunks that an unfinished one has noted.
        directory.manifest(stage).remove()
        directory.state["stages"].pop(stage, None)


def _forget(manifest: Manifest, files: set[str]) -> None:
    """Forget chunks; metadata is put back from the manifest, which is written without its torn."""
    if manifest.key is not None:
        kept = [e for e in manifest.entries.values() if e.text is not None or e.file not in files]
        manifest.begin(manifest.key, kept)


def _put_reports_aside(directory: RunDirectory, damages: list[Damage]) -> None:
    """Rename Dask's reports that are damaged: no run makes them again, and it would note them."""
    for damage in damages:
        if damage.file.startswith("report/"):
            directory.put_aside(damage.file)
