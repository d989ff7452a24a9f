"""Driver: the options of the command, and the requests that are made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import click

from clustergrid.pipeline.clusters.choice import parse_walltime
from clustergrid.pipeline.clusters.resolve import resolve_choice
from clustergrid.pipeline.hierarchy.methods import METHODS
from clustergrid.pipeline.image_plan import AGGREGATES
from clustergrid.pipeline.keyword_files import GivenKeywords, parse_keywords
from clustergrid.pipeline.metrics import METRICS, check_metric
from clustergrid.pipeline.picture_options import SplitType, parse_palettes, parse_tracks
from clustergrid.pipeline.request import (
    CLUSTERS,
    FORMATS,
    TRACKS,
    ClusterChoice,
    Cut,
    FigureOptions,
    RunRequest,
)
from clustergrid.pipeline.resources import DescribedCluster
from clustergrid.pipeline.sizes import parse_bytes
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec
from clustergrid.pipeline.tree_engine import ENGINES_OF_ROWS
from clustergrid.storage.errors import ClustergridError
from clustergrid.storage.object_store import is_object_url
from clustergrid.storage.places import as_path

__all__ = [
    "RunPath",
    "as_usage_errors",
    "cluster_choice",
    "cluster_options",
    "debug_option",
    "figure_options",
    "json_option",
    "make_figure",
    "make_request",
    "run_options",
    "take_description",
]

Command = TypeVar("Command", bound=Callable[..., Any])

_AXIS = click.Choice(["rows", "columns"])
_FILE = click.Path(exists=True, dir_okay=False)


class RunPath(click.Path):
    """A run directory: a directory that is there, or a URL of an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Look for a directory; whether there is a run at a URL is seen when it is opened."""
        return value if is_object_url(value) else super().convert(value, param, ctx)


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Options that contradict one another are errors of usage."""
    try:
        yield
    except ClustergridError as error:
        raise click.UsageError(str(error)) from error


def _bytes(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _walltime(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_walltime(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _metric(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None:
        try:
            check_metric(text, "average")
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return text


def _keywords(
    _context: click.Context, _parameter: click.Parameter, entries: tuple[str, ...]
) -> GivenKeywords | None:
    try:
        return parse_keywords(entries) if entries else None
    except ClustergridError as error:
        raise click.BadParameter(str(error)) from error


def _legend(
    _context: click.Context, _parameter: click.Parameter, entries: tuple[str, ...]
) -> dict[str, str]:
    legend = {}
    for entry in entries:
        label, equals, color = entry.rpartition("=")
        if not equals or not label or not color:
            raise click.BadParameter(f"{entry!r} is not LABEL=COLOUR")
        legend[label] = color
    return legend


def _apply(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_memory_option = click.option(
    "--memory", callback=_bytes, metavar="SIZE",
    help="What the run may use on this machine, as 8GB; by default most of what is free.",
)  # fmt: skip


def _keywords_option(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        name, multiple=True, callback=_keywords, metavar="NAME=VALUE", help=text
    )  # fmt: skip


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON lines for programs, and nothing else."
)

debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
"""`main` looks for it itself, so that it shows errors of the other options too."""

clustering_options = _apply(
    click.option("--method", type=click.Choice(METHODS), default="average", show_default=True,
                 help="How the distance of two clusters follows from those of their members."),
    click.option("--metric", callback=_metric, default="euclidean", show_default=True,
                 metavar="NAME", help=f"One of {', '.join(sorted(METRICS))}."),
    _keywords_option("--metric-kws", "Keyword of the metric, may be given again: p=3, "
                     "min_periods=10; w, V and VI from a file of numbers (.npy, text)."),
    click.option("--engine", type=click.Choice(ENGINES_OF_ROWS),
                 help="What trees are made from: scipy, the square of the distances in memory, "
                 "tiles of them in the store, which are read a few times, or data, the rows "
                 "themselves (of centroid and median those with euclidean). By default what suits "
                 "the method and the size; the plan says which and why."),
    click.option("--row-method", type=click.Choice(METHODS), help="Only for the rows."),
    click.option("--row-metric", callback=_metric, metavar="NAME", help="Only for the rows."),
    _keywords_option("--row-metric-kws", "Only for the rows, in place of --metric-kws."),
    click.option("--row-engine", type=click.Choice(ENGINES_OF_ROWS), help="Only for the rows."),
    click.option("--col-method", type=click.Choice(METHODS), help="Only for the columns."),
    click.option("--col-metric", callback=_metric, metavar="NAME", help="Only for the columns."),
    _keywords_option("--col-metric-kws", "Only for the columns, in place of --metric-kws."),
    click.option("--col-engine", type=click.Choice(ENGINES_OF_ROWS), help="Only for the columns."),
    click.option("--row-cluster/--no-row-cluster", default=True, help="Cluster the rows."),
    click.option("--col-cluster/--no-col-cluster", default=True, help="Cluster the columns."),
    click.option("--row-linkage", type=_FILE, help="Use this tree (.npy)."),
    click.option("--col-linkage", type=_FILE, help="Use this tree (.npy)."),
    click.option("--z-score", type=_AXIS, help="Z-score every row, or every column."),
    click.option("--standard-scale", type=_AXIS, help="Scale every row, or column, to 0..1."),
    click.option("--optimal-ordering", is_flag=True,
                 help="Turn branches to bring neighbours together (best up to 20,000 leaves)."),
    click.option("--dtype", type=click.Choice(["float32", "float64"]),
                 help="Precision of the distances; by default that of the matrix."),
    click.option("--layer", help="Layer of an AnnData, variable of a Zarr group."),
)  # fmt: skip

cut_options = _apply(
    click.option("--row-k", type=click.IntRange(1), help="Cut the row tree into K clusters."),
    click.option("--col-k", type=click.IntRange(1), help="Cut the column tree into K clusters."),
    click.option("--row-height", type=float, help="Cut the row tree at a height."),
    click.option("--col-height", type=float, help="Cut the column tree at a height."),
)

color_options = _apply(
    *(
        click.option(f"--{axis}-colors", type=_FILE,
                     help="Table: labels, then a column of colours a strip.")
        for axis in ("row", "col")
    ),
    *(
        click.option(f"--{axis}-annotations", type=_FILE,
                     help="Table: labels, then a column a strip, whose colours and legends are "
                     "made: numbers, true and false, ISO dates, or words.")
        for axis in ("row", "col")
    ),
)  # fmt: skip

figure_options = _apply(
    click.option("--figsize", type=(float, float), default=(10.0, 10.0), show_default=True,
                 metavar="WIDTH HEIGHT", help="Inches."),
    click.option("--dpi", type=click.IntRange(10, 1200), default=150, show_default=True,
                 help="Dots an inch."),
    click.option("--format", "formats", multiple=True, default=("png",), show_default=True,
                 type=click.Choice(FORMATS), help="May be given again."),
    click.option("--cmap", help="Colormap: mako, rocket, vlag, icefire or matplotlib's."),
    click.option("--vmin", type=float, help="Value of the colormap's first colour."),
    click.option("--vmax", type=float, help="Value of the colormap's last colour."),
    click.option("--center", type=float, help="Value of the colormap's middle."),
    click.option("--robust", is_flag=True, help="Colours from the 2nd to 98th percentile."),
    click.option("--aggregate", type=click.Choice(AGGREGATES), default="mean", show_default=True,
                 help="What a pixel shows of its cells; max_abs: that of largest magnitude."),
    click.option("--cbar-label", help="Text beside the colour bar."),
    click.option("--legend", multiple=True, callback=_legend, metavar="LABEL=COLOUR",
                 help="An entry of the legend of the colour strips; may be given again."),
    click.option("--palette", "palettes", multiple=True, callback=parse_palettes,
                 metavar="TITLE=COLOURS",
                 help="Colours of an annotation: a colormap, or label:colour,label:colour; may be "
                 "given again."),
    click.option("--track", "tracks", multiple=True, callback=parse_tracks,
                 metavar=f"TITLE={'|'.join(TRACKS)}",
                 help="Draw an annotation of numbers so, in place of a strip; may be given again."),
    click.option("--row-labels/--no-row-labels", default=True,
                 help="Write the labels of the rows."),
    click.option("--col-labels/--no-col-labels", default=True,
                 help="Write the labels of the columns."),
    *(
        click.option(f"--{axis}-split", type=SplitType(), metavar="K|FILE",
                     help=f"Draw the {word} in slices with gaps: K, where their tree is cut; or of "
                     "the categories in a table of labels and a column of these, each with a tree "
                     "of its own (FILE: where a run is made).")
        for axis, word in (("row", "rows"), ("col", "columns"))
    ),
    click.option("--row-tree-k", type=click.IntRange(1), metavar="K",
                 help="Colour K clusters of the row tree."),
    click.option("--col-tree-k", type=click.IntRange(1), metavar="K",
                 help="Colour K clusters of the column tree."),
    click.option("--tree-scale", type=click.Choice(["linear", "log", "sqrt"]), default="linear",
                 show_default=True, help="Scale of the trees' heights."),
    click.option("--tree-axis", is_flag=True, help="Write heights beside the trees."),
)  # fmt: skip

reorder_options = _apply(
    click.option("--reordered", is_flag=True,
                 help="Also write the matrix in clustered order (reordered.zarr)."),
    click.option("--pyramid", is_flag=True,
                 help="And levels of lower resolution: mean, minimum, maximum, count."),
)  # fmt: skip

_cluster_option = click.option(
    "--cluster", metavar="WORD",
    help=f"Where tasks run: {', '.join(CLUSTERS)}, or a preset. local: worker processes with a "
    "dashboard, unless the work is small; none: threads of this process; allocation: the nodes of "
    "the Slurm job this is in. By default local, or the allocation.",
)  # fmt: skip

_workers_options = (
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Worker processes."),
    click.option("--cores", type=click.IntRange(1), metavar="N", help="Of each worker."),
    click.option("--memory-per-worker", "memory_per_worker_bytes", callback=_bytes, metavar="SIZE",
                 help="Of each worker, as 64GB."),
)  # fmt: skip

_places_options = (
    click.option("--queue", metavar="NAME", help="Queue (partition) of the workers' jobs."),
    click.option("--account", metavar="NAME", help="Account (project) of the workers' jobs."),
    click.option("--walltime", "walltime_seconds", callback=_walltime, metavar="TIME",
                 help="Longest time of a worker's job: 02:30:00, 90min, 2h."),
    click.option("--interface", metavar="NAME", help="Network of scheduler and workers, as ib0."),
    click.option("--job-extra", multiple=True, metavar="LINE",
                 help="A directive of the workers' jobs; may be given again."),
    click.option("--namespace", metavar="NAME", help="Of the pods (kubernetes)."),
    click.option("--image", metavar="NAME", help="Of the pods (kubernetes)."),
    click.option("--scheduler", metavar="ADDRESS",
                 help="Use a running Dask scheduler: tls://HOST:PORT, or tcp:// on this machine."),
    click.option("--scheduler-file", type=_FILE, help="The same, by its file."),
    click.option("--tls-ca-file", "--tls-ca", "tls_ca_file", type=_FILE,
                 help="Certificate of the authority that the scheduler's certificate is of (PEM)."),
    click.option("--tls-cert", type=_FILE, help="Our certificate of that authority (PEM)."),
    click.option("--tls-key", type=_FILE, help="The private key of our certificate (PEM)."),
    click.option("--insecure", is_flag=True,
                 help="Use a scheduler on other hosts without TLS: whoever reaches it can run "
                 "code as you."),
    click.option("--dashboard-port", type=click.IntRange(0, 65535), metavar="PORT",
                 help="8787 by default; 0 takes any that is free."),
)  # fmt: skip

cluster_options = _apply(_memory_option, _cluster_option, *_workers_options, *_places_options)

run_options = _apply(
    clustering_options, cut_options, color_options, figure_options, reorder_options
)
"""All that a run is told of its matrix and its picture."""


def _axis_number(axis: str | None) -> int | None:
    return None if axis is None else ("rows", "columns").index(axis)


def _given_keywords(options: dict[str, Any], axis: str) -> GivenKeywords:
    """Keywords of the metric of an axis: its own, or those of both."""
    return options[f"{axis}_metric_kws"] or options["metric_kws"] or GivenKeywords()


def _axis_spec(options: dict[str, Any], axis: str) -> AxisSpec:
    is_computed = options[f"{axis}_cluster"] and options[f"{axis}_linkage"] is None
    return AxisSpec(
        cluster=options[f"{axis}_cluster"],
        method=options[f"{axis}_method"] or options["method"],
        metric=options[f"{axis}_metric"] or options["metric"],
        metric_kws=_given_keywords(options, axis).keywords,
        optimal_ordering=options["optimal_ordering"],
        linkage=options[f"{axis}_linkage"],
        # Of a tree that nobody makes the method need not be one of the engine's.
        engine=(options[f"{axis}_engine"] or options["engine"]) if is_computed else None,
    )


def make_figure(options: dict[str, Any], *, is_run: bool = False) -> FigureOptions:
    """Make what `figure_options` ask for; only where a run is made a table may split its axes."""
    tables = [axis for axis in AXIS_NAMES if isinstance(options[f"{axis}_split"], str)]
    if tables and not is_run:
        raise click.UsageError(
            f"--{tables[0]}-split FILE decides trees, which are made by `clustergrid run`: give it "
            "there, or a number here"
        )
    heatmap = {
        name: options[name]
        for name in ("cmap", "vmin", "vmax", "center")
        if options[name] is not None
    }
    if options["robust"]:
        heatmap["robust"] = True
    if options["aggregate"] != "mean":
        heatmap["aggregate"] = options["aggregate"]
    for name, keyword in (("row_labels", "yticklabels"), ("col_labels", "xticklabels")):
        if not options[name]:
            heatmap[keyword] = False
    heatmap |= _tree_keywords(options)
    with as_usage_errors():
        return FigureOptions(
            figsize_inches=options["figsize"],
            dpi=options["dpi"],
            formats=tuple(dict.fromkeys(options["formats"])),
            heatmap=heatmap,
            cbar_label=options["cbar_label"],
            legends={"": options["legend"]} if options["legend"] else {},
            palettes=options["palettes"],
            tracks=options["tracks"],
        )


def _tree_keywords(options: dict[str, Any]) -> dict[str, Any]:
    """Keywords of how the trees are drawn; none for what is not asked for."""
    keywords: dict[str, Any] = {}
    for axis in AXIS_NAMES:
        if isinstance(options[f"{axis}_split"], int):
            keywords[f"{axis}_split"] = options[f"{axis}_split"]
        style = {"k": options[f"{axis}_tree_k"], "scale": options["tree_scale"]}
        style["axis"] = options["tree_axis"]
        if style != {"k": None, "scale": "linear", "axis": False}:
            keywords[f"{axis}_tree_style"] = style
    return keywords


def cluster_choice(options: dict[str, Any]) -> ClusterChoice:
    """Make what `cluster_options` ask for: presets, and the batch job around us, are looked up."""
    names = {field.name for field in fields(ClusterChoice)} & options.keys()
    given = {
        name: options[name]
        for name in names
        # A port may be 0, which equals False.
        if options[name] is not None and options[name] is not False and options[name] != ()
    }
    with as_usage_errors():
        return resolve_choice(given, os.environ)


def take_description(options: dict[str, Any]) -> DescribedCluster | None:
    """Take a cluster that is only described out of the options of a plan.

    Returns
    -------
    DescribedCluster or None
        None where they describe nothing, or name the cluster, whose options they are then.
    """
    if options["cluster"] not in (None, "local", "none"):
        return None
    names = {
        "workers": "--workers",
        "cores": "--cores",
        "memory_per_worker_bytes": "--memory-per-worker",
    }
    workers, cores, memory = given = [options.pop(name) for name in names]
    missing = [option for option, value in zip(names.values(), given, strict=True) if value is None]
    if len(missing) == len(names):
        return None
    if missing:
        raise click.UsageError(
            f"a cluster is described by {', '.join(names.values())} together: "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    if options["cluster"] == "none":
        raise click.UsageError("--cluster none has no workers that could be described")
    return DescribedCluster(workers=workers, cores=cores, memory_bytes=memory)


def make_request(input: str, output: str, options: dict[str, Any]) -> RunRequest:
    """Make a request of the options of a command; those it does not have keep their defaults."""
    figure = make_figure(options, is_run=True) if "figsize" in options else FigureOptions()
    splits = {
        f"{axis}_split": table
        for axis in AXIS_NAMES
        if isinstance(table := options.get(f"{axis}_split"), str)
    }
    with as_usage_errors():
        return RunRequest(
            input=input,
            directory=as_path(output),
            row=_axis_spec(options, "row"),
            column=_axis_spec(options, "col"),
            metric_files={axis: _given_keywords(options, axis).files for axis in AXIS_NAMES},
            row_cut=Cut(k=options.get("row_k"), height=options.get("row_height")),
            column_cut=Cut(k=options.get("col_k"), height=options.get("col_height")),
            z_score=_axis_number(options["z_score"]),
            standard_scale=_axis_number(options["standard_scale"]),
            dtype=options["dtype"],
            layer=options["layer"],
            row_colors=options.get("row_colors"),
            col_colors=options.get("col_colors"),
            row_annotations=options.get("row_annotations"),
            col_annotations=options.get("col_annotations"),
            **splits,
            figure=figure,
            memory_bytes=options["memory"],
            cluster=cluster_choice(options),
            reordered=options.get("reordered", False) or options.get("pyramid", False),
            pyramid=options.get("pyramid", False),
        )
