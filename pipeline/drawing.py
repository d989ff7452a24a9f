"""Driver: the picture of a run, from the trees and the matrix that its directory holds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.annotation_files import dressed, stored_annotations
from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.intake import bind_input, describe_input
from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.monitor import Listener, Progress
from clustergrid.pipeline.outputs import TABLES, stored_colors, stored_linkage
from clustergrid.pipeline.passes import drop_pieces
from clustergrid.pipeline.request import FORMATS, FigureOptions, RunRequest
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.pipeline.split_files import stored_split
from clustergrid.pipeline.stored_run import open_stored_stages
from clustergrid.storage.chunks import is_whole
from clustergrid.storage.errors import IntegrityError, RunDirectoryError
from clustergrid.storage.places import AnyPlace
from clustergrid.storage.rundir import RunDirectory, stage_key

if TYPE_CHECKING:
    from clustergrid.pipeline.render import ClusterGrid

__all__ = ["check_figure", "draw", "forget_picture", "picture_stages", "plot_run"]

_FIGURE = "figure"
"""Name of the picture that a run draws; `plot` draws others too."""

_STAGE = "picture"
_UNDATED: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def check_figure(options: FigureOptions) -> None:
    """Refuse, before hours are spent, colours and colormaps that do not exist.

    Raises
    ------
    ValueError, TypeError
        There is no such colormap, or no such colour.
    """
    from clustergrid.pipeline.render.colormaps import get_colormap
    from clustergrid.pipeline.render.legends import legend_entries

    if "cmap" in options.heatmap:
        get_colormap(options.heatmap["cmap"])
    for entries in options.legends.values():
        legend_entries(entries)


def draw(
    directory: RunDirectory,
    options: FigureOptions,
    stages: RunStages,
    progress: Progress,
    *,
    output: str = _FIGURE,
) -> dict[str, str]:
    """Draw the picture of a run, unless the very same one is there.

    Parameters
    ----------
    directory
        The run directory, locked, whose trees are made.
    options
        How to draw.
    stages
        Stages of its matrix.
    progress
        Who is told.
    output
        Name of the files, without suffix.

    Returns
    -------
    dict
        Names of the files, by their format.
    """
    results = _results_key(directory, stages)
    _remove_stale(directory, results)
    noted = _stage_of(output)
    key = stage_key(results=results, options=asdict(options), output=output)
    names = [f"{output}.{suffix}" for suffix in options.formats]
    files = {f"{output}_{suffix}": f"{output}.{suffix}" for suffix in options.formats}
    if directory.is_finished(noted, key) and _has_image(directory, noted):
        progress.kept(_STAGE)
        return files
    forget_picture(directory, noted)
    with progress.stage(_STAGE, total=len(names), unit="files") as stage:
        _draw_files(directory, options, stages, names, stage.advance)
    image = directory.state["stages"].get("image", {}).get("key")
    directory.finish(noted, key, files=names, results=results, image=image)
    return files


def picture_stages(directory: RunDirectory) -> list[str]:
    """Names of the stages of pictures that were noted: of the run's own, and of those by `plot`."""
    return [
        stage
        for stage in directory.state["stages"]
        if stage == _STAGE or stage.startswith(f"{_STAGE}-")
    ]


def forget_picture(directory: RunDirectory, stage: str) -> None:
    """Take back the note of a picture, but for its name: files of that name may be there.

    Whoever draws next removes them, unless they are drawn anew before.
    """
    directory.finish(stage, "")


def _stage_of(output: str) -> str:
    return _STAGE if output == _FIGURE else f"{_STAGE}-{output}"


def _has_image(directory: RunDirectory, stage: str) -> bool:
    """Whether the reduced image that the picture was drawn from is there too."""
    key = directory.state["stages"][stage].get("image")
    return key is None or directory.is_finished("image", key)


def _results_key(directory: RunDirectory, stages: RunStages) -> str:
    """Key of all that a picture shows, whatever it looks like."""
    trees = [stored_linkage(directory, axis, stages.shape[axis]) for axis in (0, 1)]
    tables: dict[str, list[str | None]] = {}
    for kind in TABLES:
        files = [directory.file(f"{axis}_{kind}.tsv") for axis in AXIS_NAMES]
        tables[kind] = [f.read_text(encoding="utf-8") if f.exists() else None for f in files]
    return stage_key(matrix=stages.key, trees=array_digest(*trees), **tables)


def _remove_stale(directory: RunDirectory, results: str) -> None:
    """Remove pictures of other or unknown results, which would be taken for pictures of these."""
    for stage in {_STAGE, *picture_stages(directory)}:
        if directory.state["stages"].get(stage, {}).get("results") == results:
            continue
        # First: killed at any moment, it leaves no note of a file that is gone, and no file whose
        # stage is not noted.
        forget_picture(directory, stage)
        output = _FIGURE if stage == _STAGE else stage.removeprefix(f"{_STAGE}-")
        for suffix in FORMATS:
            file = directory.file(f"{output}.{suffix}")
            with suppress(OSError):
                file.unlink(missing_ok=True)
        directory.begin(stage)


def _draw_files(
    directory: RunDirectory,
    options: FigureOptions,
    stages: RunStages,
    names: list[str],
    advance: Any,
) -> None:
    import matplotlib.pyplot as plt
    from matplotlib import rc_context

    # The body is reduced for the resolution the figure is saved at; text stays text in vectors.
    # Labels are data: nothing in them is a formula for mathtext or a program for TeX.
    style: Any = {
        "figure.dpi": options.dpi,
        "savefig.dpi": options.dpi,
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        # Else an SVG has other identifiers every time.
        "svg.hashsalt": "clustergrid",
        "text.parse_math": False,
        "text.usetex": False,
    }
    with rc_context(style):
        grid = _open_grid(directory, options, stages)
        try:
            _plot(grid, directory, options, stages)
            for name in names:
                with directory.publish(name) as path:
                    # The same results are the same bytes, whenever they are drawn.
                    grid.savefig(path, metadata=_UNDATED.get(path.suffix))
                advance()
        finally:
            plt.close(grid.figure)


def _open_grid(directory: RunDirectory, options: FigureOptions, stages: RunStages) -> ClusterGrid:
    from clustergrid.pipeline.render import ClusterGrid

    tables = [stored_annotations(directory, axis, stages.matrix) for axis in (0, 1)]
    (row_annotations, col_annotations), palettes = dressed(tables, options)
    return ClusterGrid(
        None,
        figsize=options.figsize_inches,
        row_colors=stored_colors(directory, 0, stages.matrix),
        col_colors=stored_colors(directory, 1, stages.matrix),
        row_annotations=row_annotations,
        col_annotations=col_annotations,
        annotation_palettes=palettes,
        dendrogram_ratio=0.2,
        colors_ratio=0.03,
        cbar_pos=(0.02, 0.8, 0.05, 0.18),
        stages=stages,
    )


def _plot(
    grid: ClusterGrid, directory: RunDirectory, options: FigureOptions, stages: RunStages
) -> None:
    from matplotlib import rc_context

    trees = [stored_linkage(directory, axis, stages.shape[axis]) for axis in (0, 1)]
    grid.plot(
        "euclidean",
        "average",
        {} if options.cbar_label is None else {"label": options.cbar_label},
        trees[0] is not None,
        trees[1] is not None,
        trees[0],
        trees[1],
        None,
        **(_splits(directory, stages) | options.heatmap),
    )
    # What the user writes in an option is their own, and may hold mathtext.
    with rc_context({"text.parse_math": True}):
        for title, entries in options.legends.items():
            grid.add_legend(entries, title=title or None)
    if grid.ax_cbar is not None:
        for bar_axis in (grid.ax_cbar.xaxis, grid.ax_cbar.yaxis):
            bar_axis.label.set_parse_math(True)


def _splits(directory: RunDirectory, stages: RunStages) -> dict[str, Any]:
    """Categories that the axes of a run are split by, unless a picture is cut otherwise."""
    found = {
        f"{name}_split": stored_split(directory, axis, stages.matrix)
        for axis, name in enumerate(AXIS_NAMES)
    }
    return {name: list(series) for name, series in found.items() if series is not None}


def plot_run(
    path: AnyPlace, options: FigureOptions, *listeners: Listener, output: str = _FIGURE
) -> dict[str, str]:
    """Draw a finished run again; nothing but a picture of another resolution is computed.

    Parameters
    ----------
    path
        The run directory.
    options
        How to draw.
    *listeners
        Called with every progress event.
    output
        Name of the files in the run directory, without suffix.

    Returns
    -------
    dict
        Names of the files, by their format.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, or its run is not finished.
    IntegrityError
        A part of the run's copy of the matrix is missing.
    """
    directory = RunDirectory(path)
    check_figure(options)
    with directory.locked():
        if "finished" not in directory.state:
            raise RunDirectoryError(
                f"the run in {path} is not finished: the same `clustergrid run` again finishes it"
            )
        progress = Progress(*listeners)
        asked = directory.state["request"]
        if directory.state["matrix"]["used_in_place"]:
            request = RunRequest(
                input=asked["input"], directory=directory.path, layer=asked["layer"]
            )
            bind_input(directory, describe_input(request))
        elif not is_whole(directory.matrix, "matrix"):
            # Zarr would read what is missing as zeros, and they would be drawn.
            raise IntegrityError(
                f"chunks of the matrix in {directory.matrix} are missing: the same "
                "`clustergrid run` again copies it again"
            )
        stages = open_stored_stages(directory, progress)
        files = draw(directory, options, stages, progress, output=output)
        drop_pieces(directory)
        return files
