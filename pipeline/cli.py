"""Driver: the command ``clustergrid``."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from clustergrid.pipeline.cluster import CLUSTERS, ClusterChoice
from clustergrid.pipeline.hierarchy.methods import METHODS
from clustergrid.pipeline.monitor import Event, Listener
from clustergrid.pipeline.planning import parse_bytes
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.errors import ClustergridError

__all__ = ["cli", "main"]

Command = TypeVar("Command", bound=Callable[..., Any])

_AXIS = click.Choice(["rows", "columns"])


def _axis_number(axis: str | None) -> int | None:
    return None if axis is None else ("rows", "columns").index(axis)


def _bytes(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _apply(options: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_clustering_options = _apply(
    [
        click.option("--method", type=click.Choice(METHODS), default="average", show_default=True),
        click.option("--metric", default="euclidean", show_default=True),
        click.option("--row-method", type=click.Choice(METHODS), help="Only for the rows."),
        click.option("--row-metric", help="Only for the rows."),
        click.option("--col-method", type=click.Choice(METHODS), help="Only for the columns."),
        click.option("--col-metric", help="Only for the columns."),
        click.option("--row-cluster/--no-row-cluster", default=True, help="Cluster the rows."),
        click.option("--col-cluster/--no-col-cluster", default=True, help="Cluster the columns."),
        click.option("--z-score", type=_AXIS, help="Z-score every row, or every column."),
        click.option("--standard-scale", type=_AXIS, help="Scale every row, or column, to 0..1."),
        click.option("--optimal-ordering", is_flag=True, help="Turn branches to bring neighbours "
                     "together (some thousand leaves)."),
        click.option("--dtype", type=click.Choice(["float32", "float64"]),
                     help="Precision of the distances; by default that of the matrix."),
        click.option("--layer", help="Layer of an AnnData, variable of a Zarr group."),
        click.option("--memory", callback=_bytes, metavar="SIZE",
                     help="What the run may use here, as 8GB; by default most of what is free."),
    ]
)  # fmt: skip

_figure_options = _apply(
    [
        click.option("--figsize", type=(float, float), default=(10.0, 10.0), show_default=True,
                     metavar="WIDTH HEIGHT", help="Inches."),
        click.option("--dpi", type=click.IntRange(10, 1200), default=150, show_default=True),
        click.option("--format", "formats", multiple=True, default=("png",), show_default=True,
                     type=click.Choice(["png", "pdf", "svg"]), help="May be given again."),
        click.option("--cmap", help="Colormap: mako, rocket, vlag, icefire or matplotlib's."),
        click.option("--vmin", type=float),
        click.option("--vmax", type=float),
        click.option("--center", type=float, help="Value of the colormap's middle."),
        click.option("--robust", is_flag=True, help="Colours from the 2nd to 98th percentile."),
        click.option("--cbar-label", help="Text beside the colour bar."),
        click.option("--legend", multiple=True, metavar="LABEL=COLOUR",
                     help="An entry of the legend of the colour strips; may be given again."),
        click.option("--row-labels/--no-row-labels", default=True),
        click.option("--col-labels/--no-col-labels", default=True),
    ]
)  # fmt: skip

_cluster_options = _apply(
    [
        click.option("--cluster", type=click.Choice(CLUSTERS), default="local", show_default=True,
                     help="local: worker processes with a dashboard, unless the work is small; "
                     "none: threads of this process."),
        click.option("--scheduler", metavar="ADDRESS", help="Use a running Dask scheduler."),
        click.option("--scheduler-file", type=click.Path(), help="The same, by its file."),
        click.option("--dashboard-port", type=int, default=8787, show_default=True),
    ]
)  # fmt: skip

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON lines for programs."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clustergrid")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Clustered heatmaps with exact trees, of matrices that do not fit in memory."""
    del debug  # read by `main`, which catches the errors


def _axis_specs(options: dict[str, Any]) -> tuple[AxisSpec, AxisSpec]:
    row, column = (
        AxisSpec(
            cluster=options[f"{axis}_cluster"],
            method=options[f"{axis}_method"] or options["method"],
            metric=options[f"{axis}_metric"] or options["metric"],
            optimal_ordering=options["optimal_ordering"],
            linkage=options.get(f"{axis}_linkage"),
        )
        for axis in ("row", "col")
    )
    return row, column


def _figure(options: dict[str, Any]) -> Any:
    from clustergrid.pipeline.run import FigureOptions

    heatmap = {
        name: options[name]
        for name in ("cmap", "vmin", "vmax", "center")
        if options[name] is not None
    }
    if options["robust"]:
        heatmap["robust"] = True
    for name, keyword in (("row_labels", "yticklabels"), ("col_labels", "xticklabels")):
        if not options[name]:
            heatmap[keyword] = False
    return FigureOptions(
        figsize_inches=options["figsize"],
        dpi=options["dpi"],
        formats=tuple(options["formats"]),
        heatmap=heatmap,
        cbar_label=options["cbar_label"],
        legend=dict(_legend_entry(entry) for entry in options["legend"]),
    )


def _legend_entry(text: str) -> tuple[str, str]:
    label, equals, color = text.rpartition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not LABEL=COLOUR", param_hint="--legend")
    return label, color


def _request(input: str, output: str, options: dict[str, Any]) -> Any:
    from clustergrid.pipeline.run import Cut, RunRequest

    row, column = _axis_specs(options)
    return RunRequest(
        input=input,
        directory=Path(output),
        row=row,
        column=column,
        row_cut=Cut(k=options["row_k"], height=options["row_height"]),
        column_cut=Cut(k=options["col_k"], height=options["col_height"]),
        z_score=_axis_number(options["z_score"]),
        standard_scale=_axis_number(options["standard_scale"]),
        dtype=options["dtype"],
        layer=options["layer"],
        row_colors=options["row_colors"],
        col_colors=options["col_colors"],
        figure=_figure(options),
        memory_bytes=options["memory"],
        cluster=ClusterChoice(
            cluster=options["cluster"],
            scheduler=options["scheduler"],
            scheduler_file=options["scheduler_file"],
            dashboard_port=options["dashboard_port"],
        ),
    )


def _json_listener(event: Event) -> None:
    print(json.dumps({"event": asdict(event)}), flush=True)


def _run_and_tell(request: Any, as_json: bool) -> None:
    from clustergrid.pipeline.display import terminal_listener
    from clustergrid.pipeline.run import run

    listener: Listener = _json_listener if as_json else terminal_listener()

    def notice(line: str) -> None:
        if as_json:
            print(json.dumps({"notice": line}), flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    result = run(request, listener, notice=notice)
    if as_json:
        answer = {
            "directory": str(result.directory),
            "files": result.files,
            "seconds": round(result.seconds, 3),
        }
        print(json.dumps({"result": answer}), flush=True)
        return
    click.echo(f"finished in {result.seconds:.1f} s; results in {result.directory}:")
    for what, name in sorted(result.files.items()):
        click.echo(f"  {what:<14} {result.directory / name}")


@cli.command(name="run")
@click.argument("input")
@click.option("-o", "--output", required=True, metavar="RUN", help="The run directory.")
@_clustering_options
@click.option("--row-linkage", type=click.Path(exists=True), help="Use this tree (.npy).")
@click.option("--col-linkage", type=click.Path(exists=True), help="Use this tree (.npy).")
@click.option("--row-k", type=click.IntRange(1), help="Cut the row tree into K clusters.")
@click.option("--col-k", type=click.IntRange(1), help="Cut the column tree into K clusters.")
@click.option("--row-height", type=float, help="Cut the row tree at a height.")
@click.option("--col-height", type=float, help="Cut the column tree at a height.")
@click.option(
    "--row-colors", type=click.Path(exists=True), help="Table: labels, then colours a strip."
)
@click.option(
    "--col-colors", type=click.Path(exists=True), help="Table: labels, then colours a strip."
)
@_figure_options
@_cluster_options
@_json_option
def run_command(input: str, output: str, as_json: bool, **options: Any) -> None:
    """Cluster the matrix INPUT and draw it. The same command again resumes it.

    INPUT is a path or URL: .npy, .csv and .tsv (.gz), .parquet, .h5ad, Zarr.
    """
    _run_and_tell(_request(input, output, options), as_json)


@cli.command(name="plan")
@click.argument("input")
@_clustering_options
@_json_option
def plan_command(input: str, as_json: bool, **options: Any) -> None:
    """Say what a run of INPUT would do and cost, without running it."""
    from clustergrid.pipeline.execution import available_cores, available_memory_bytes
    from clustergrid.pipeline.planning import Resources, plan_run
    from clustergrid.pipeline.run import RunRequest, run_spec
    from clustergrid.pipeline.spec import distance_dtype
    from clustergrid.storage.matrix import open_matrix

    row, column = _axis_specs(options)
    matrix = open_matrix(input, layer=options["layer"])
    request = RunRequest(
        input=input,
        directory=Path(),
        row=row,
        column=column,
        z_score=_axis_number(options["z_score"]),
        standard_scale=_axis_number(options["standard_scale"]),
    )
    planned = plan_run(
        run_spec(request, distance_dtype(matrix.dtype, options["dtype"])),
        (matrix.shape[0], matrix.shape[1]),
        matrix.dtype.itemsize,
        Resources(
            memory_bytes=options["memory"] or available_memory_bytes(), threads=available_cores()
        ),
        in_memory=False,
        ingest=True,
    )
    click.echo(json.dumps(asdict(planned)) if as_json else str(planned))


@cli.command(name="plot")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option("--name", default="figure", show_default=True, help="Of the file in the run.")
@_figure_options
@_json_option
def plot_command(run: str, name: str, as_json: bool, **options: Any) -> None:
    """Draw a finished RUN again, with other options."""
    from clustergrid.pipeline.run import plot_run

    files = plot_run(Path(run), _figure(options), output=name)
    for file in files.values():
        path = str(Path(run) / file)
        click.echo(json.dumps({"figure": path}) if as_json else path)


@cli.command(name="status")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@_json_option
def status_command(run: str, as_json: bool) -> None:
    """Say where a RUN stands."""
    from clustergrid.pipeline.status import read_status

    status = read_status(Path(run))
    click.echo(json.dumps(status.as_dict()) if as_json else str(status))


@cli.command(name="demo")
@click.option("-o", "--output", default="clustergrid-demo", show_default=True, metavar="RUN")
@click.option("--memory", callback=_bytes, metavar="SIZE")
@_cluster_options
@_json_option
def demo_command(output: str, as_json: bool, memory: int | None, **options: Any) -> None:
    """Cluster a real matrix: 28,057 genes of 115 endometrial samples (CPTAC)."""
    from clustergrid.pipeline.demo import demo_request

    with tempfile.TemporaryDirectory() as scratch:
        request = demo_request(
            Path(output),
            Path(scratch) / "colors.tsv",
            memory_bytes=memory,
            cluster=ClusterChoice(**options),
        )
        _run_and_tell(request, as_json)


def _terminated(_signal: int, _frame: Any) -> None:
    # A batch system's warning: leave through the same door as Ctrl-C, with SIGTERM's status.
    raise SystemExit(128 + signal.SIGTERM)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; every failure ends with one line and a status that is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    os.environ.setdefault("MPLBACKEND", "Agg")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
    except click.exceptions.Abort:
        _end("stopped; the same command goes on from here", 130)
    except KeyboardInterrupt:
        _end("stopped; the same command goes on from here", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ClustergridError as error:
        if debug:
            raise
        _end(str(error), 1)
    except Exception as error:
        if debug:
            raise
        _end(f"{type(error).__name__}: {error} (run with --debug to see where)", 1)


def _end(message: str, status: int) -> None:
    print(f"clustergrid: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
