"""Driver: the whole pipeline in a run directory, resumed where it stopped."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.cluster import ClusterChoice, connect, dashboard_lines, stage_report
from clustergrid.pipeline.downsample import ReducedImage
from clustergrid.pipeline.execution import (
    DaskExecutor,
    Executor,
    ThreadsExecutor,
    available_cores,
    available_memory_bytes,
)
from clustergrid.pipeline.monitor import JsonLines, Listener, Progress
from clustergrid.pipeline.order import check_linkage, cut, leaf_order
from clustergrid.pipeline.planning import Plan, Resources, plan_run
from clustergrid.pipeline.spec import AxisSpec, RunSpec, distance_dtype
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import DataValueError, RunDirectoryError, StorageError
from clustergrid.storage.ingest import fingerprint, ingest, matrix_source, stored_record
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.rundir import RunDirectory, stage_key

if TYPE_CHECKING:
    from distributed import Client

    from clustergrid.pipeline.render import ClusterGrid

__all__ = ["Cut", "FigureOptions", "RunRequest", "RunResult", "draw", "plot_run", "run", "run_spec"]

_AXES = ("row", "col")
_SMALL_BYTES = 100_000_000
"""A run whose distances are no larger starts no scheduler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a tree is cut into clusters: into `k` of them, or at a height."""

    k: int | None = None
    height: float | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.height is not None:
            raise DataValueError("cut by a number of clusters or at a height, not both")

    def __bool__(self) -> bool:
        return self.k is not None or self.height is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureOptions:
    """How the picture is drawn; it decides no other result.

    Attributes
    ----------
    figsize_inches, dpi
        Size and resolution.
    formats
        Suffixes of the files to write: png, pdf, svg.
    heatmap
        Keywords of the heatmap: cmap, vmin, vmax, center, robust, xticklabels, ...
    cbar_label
        Written beside the colour bar.
    legend
        Colours of the strips by what they mean.
    """

    figsize_inches: tuple[float, float] = (10.0, 10.0)
    dpi: int = 150
    formats: tuple[str, ...] = ("png",)
    heatmap: dict[str, Any] = field(default_factory=dict)
    cbar_label: str | None = None
    legend: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.formats) - {"png", "pdf", "svg"}
        if unknown or not self.formats:
            raise DataValueError(f"formats are png, pdf and svg, got {', '.join(self.formats)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """All that a run was asked for.

    Attributes
    ----------
    input
        Path or URL that `open_matrix` reads.
    directory
        The run directory.
    row, column
        How the axes are clustered; None as dtype means the matrix's.
    row_cut, column_cut
        Where their trees are cut.
    z_score, standard_scale, dtype, layer
        As in `clustermap` and `open_matrix`.
    row_colors, col_colors
        Tables of colours (TSV or CSV: labels, then a column a strip), copied into the run.
    figure
        How the picture is drawn.
    memory_bytes
        What the run may use on this machine; None: most of what is free.
    cluster
        Where tasks run.
    """

    input: str
    directory: Path
    row: AxisSpec = field(default_factory=AxisSpec)
    column: AxisSpec = field(default_factory=AxisSpec)
    row_cut: Cut = field(default_factory=Cut)
    column_cut: Cut = field(default_factory=Cut)
    z_score: int | None = None
    standard_scale: int | None = None
    dtype: str | None = None
    layer: str | None = None
    row_colors: str | None = None
    col_colors: str | None = None
    figure: FigureOptions = field(default_factory=FigureOptions)
    memory_bytes: int | None = None
    cluster: ClusterChoice = field(default_factory=ClusterChoice)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a finished run left.

    Attributes
    ----------
    directory
        The run directory.
    files
        What is in it, by what it is.
    plan
        What had been planned.
    seconds
        Wall time of this call.
    """

    directory: Path
    files: dict[str, str]
    plan: Plan
    seconds: float


class _RunLedger:
    """Notes finished tiles in the run directory."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self.keys: dict[str, str] = {}

    def finished(self, stage: str) -> frozenset[int]:
        return self._directory.pieces(stage, self.keys[stage])

    def record(self, stage: str, piece: int) -> None:
        self._directory.record_piece(stage, self.keys[stage], piece)


class _RunStages(Stages):
    """Stages that keep the picture's numbers in the run directory, to draw again from."""

    run_directory: RunDirectory
    key: str

    def limits(self, *, robust: bool = False, mask: Any = None) -> tuple[float, float]:
        if mask is not None:
            return super().limits(robust=robust, mask=mask)
        stage = "limits-robust" if robust else "limits"
        key = stage_key(matrix=self.key, stage=stage)
        if self.run_directory.is_finished(stage, key):
            low, high = self.run_directory.state["stages"][stage]["limits"]
            return float(low), float(high)
        low, high = super().limits(robust=robust)
        self.run_directory.finish(stage, key, [], limits=[low, high])
        return low, high

    def reduced_image(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        shape: tuple[int, int],
        mask: Any = None,
    ) -> ReducedImage:
        if mask is not None:
            return super().reduced_image(row_order, column_order, shape, mask)
        digest = hashlib.sha256()
        for order in (row_order, column_order):
            digest.update(np.ascontiguousarray(order, dtype=np.int64).data)
        key = stage_key(
            matrix=self.key, stage="image", shape=list(shape), orders=digest.hexdigest()
        )
        store = self.run_directory.arrays
        if self.run_directory.is_finished("image", key):
            self._progress.kept("downsample")
            return ReducedImage(
                values=np.asarray(open_array(store, "image")[:]),
                row_edges=np.asarray(open_array(store, "image_row_edges")[:]),
                column_edges=np.asarray(open_array(store, "image_column_edges")[:]),
            )
        image = super().reduced_image(row_order, column_order, shape)
        for path, values in (
            ("image", image.values),
            ("image_row_edges", image.row_edges),
            ("image_column_edges", image.column_edges),
        ):
            array = create_array(
                store,
                path,
                shape=values.shape,
                dtype=values.dtype,
                chunks=values.shape,
                overwrite=True,
            )
            write_block(array, (0,) * values.ndim, values)
        self.run_directory.finish("image", key, ["arrays.zarr/image/zarr.json"])
        return image


Notice = Callable[[str], None]


def run(request: RunRequest, *listeners: Listener, notice: Notice | None = None) -> RunResult:
    """Run the pipeline, or what an earlier run of the same directory did not finish.

    Parameters
    ----------
    request
        What is asked for.
    *listeners
        Called with every progress event, besides the run directory's own log.
    notice
        Called with lines for people: the plan, the dashboard's address.

    Raises
    ------
    ClustergridError
        The input, the options, the memory, the disk or the run directory is not as it has to be.
    """
    started = time.monotonic()
    tell = notice or (lambda line: None)
    directory = RunDirectory(request.directory, create=True)
    with directory.locked():
        progress = Progress(JsonLines(directory.path / "progress.jsonl"), *listeners)
        matrix_key = _check_input(directory, request)
        copied = _copy_colors(directory, request)
        resources = Resources(
            memory_bytes=request.memory_bytes or available_memory_bytes(), threads=available_cores()
        )
        matrix = open_matrix(request.input, layer=request.layer, store=directory.arrays)
        spec = run_spec(request, distance_dtype(matrix.dtype, request.dtype))
        in_place = matrix_source(matrix)
        plan = plan_run(
            spec,
            (matrix.shape[0], matrix.shape[1]),
            matrix.dtype.itemsize,
            resources,
            in_memory=False,
            ingest=in_place is None or matrix.chunks is None,
        )
        directory.update(**_provenance(request, plan))
        tell(str(plan))
        with ExitStack() as stack:
            client = _client(stack, request.cluster, matrix.shape, spec, resources)
            if client is not None:
                for line in dashboard_lines(client):
                    tell(line)
            executor: Executor = ThreadsExecutor() if client is None else DaskExecutor(client)
            matrix = _matrix_at_rest(directory, matrix, matrix_key, executor, progress)
            stages = _open_stages(
                directory, request, matrix_key, matrix, executor, resources, progress
            )
            files = _compute(directory, request, spec, stages, client)
            files |= copied
            with stage_report(client, directory.path / "report" / "picture.html"):
                files |= draw(directory, request.figure, stages=stages)
        directory.update(finished=round(time.time(), 3), files=files)
    return RunResult(
        directory=directory.path, files=files, plan=plan, seconds=time.monotonic() - started
    )


def run_spec(request: RunRequest, dtype: str) -> RunSpec:
    """Take from the request what decides results, with the type of the distances."""

    def with_dtype(axis: AxisSpec) -> AxisSpec:
        return AxisSpec(**{**asdict(axis), "dtype": dtype})

    return RunSpec(
        row=with_dtype(request.row),
        column=with_dtype(request.column),
        z_score=request.z_score,
        standard_scale=request.standard_scale,
    )


def _provenance(request: RunRequest, plan: Plan) -> dict[str, Any]:
    """Entries of ``run.json``: what was asked, with which versions; no secret is in these."""
    asked = asdict(request)
    asked["directory"] = str(request.directory)
    packages = ("clustergrid", "dask", "numpy", "numba", "scipy", "xarray", "zarr")
    return {
        "request": json.loads(json.dumps(asked)),
        "shape": list(plan.shape),
        "plan": [asdict(stage) for stage in plan.stages],
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def _check_input(directory: RunDirectory, request: RunRequest) -> str:
    """Refuse an input that is not the one this directory was started with."""
    now = {**fingerprint(request.input), "layer": request.layer}
    before = directory.state.get("input")
    if before is not None and before != now:
        changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        raise RunDirectoryError(
            f"{directory.path} was started with another input: {', '.join(changed)} changed. "
            "Use a new run directory."
        )
    directory.update(input=now)
    return stage_key(input=now)


def _copy_colors(directory: RunDirectory, request: RunRequest) -> dict[str, str]:
    """Keep the colour tables with the run, so that it can be drawn again without them."""
    files = {}
    for name, source in (("row_colors", request.row_colors), ("col_colors", request.col_colors)):
        if source is None:
            directory.file(f"{name}.tsv").unlink(missing_ok=True)
            continue
        colors = _read_colors(Path(source))
        with directory.publish(f"{name}.tsv") as path:
            colors.to_csv(path, sep="\t")
        files[name] = f"{name}.tsv"
    return files


def _read_colors(path: Path) -> pd.DataFrame:
    separator = "," if path.suffix == ".csv" else "\t"
    try:
        colors = pd.read_csv(path, sep=separator, index_col=0, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read the colours in {path}: {error}") from error
    if colors.shape[1] == 0:
        raise DataValueError(f"{path} has labels and no column of colours")
    return colors.replace("", np.nan)


def _client(
    stack: ExitStack,
    choice: ClusterChoice,
    shape: tuple[int, ...],
    spec: RunSpec,
    resources: Resources,
) -> Client | None:
    """Start no scheduler for what this process does in a moment."""
    largest = max((size for axis, size in enumerate(shape) if spec.axis(axis).cluster), default=0)
    if not choice.is_remote and largest * largest * 4 <= _SMALL_BYTES:
        return None
    context: AbstractContextManager[Client | None] = connect(choice, resources)
    return stack.enter_context(context)


def _matrix_at_rest(
    directory: RunDirectory, matrix: Any, key: str, executor: Executor, progress: Progress
) -> Any:
    """Return the matrix as a lazy view of a chunked Zarr array."""
    source = matrix_source(matrix)
    if source is not None and matrix.chunks is not None:
        return matrix
    record = stored_record(directory.arrays)
    if not (directory.is_finished("matrix", key) and record and record.get("complete")):
        with (
            executor.active(),
            progress.stage("ingest", total=matrix.nbytes, unit="bytes") as stage,
        ):

            def tell(done: int, total: int) -> None:
                stage.advance(matrix.nbytes * done // max(total, done) - stage.done)

            ingest(matrix, directory.arrays, progress=tell)
        directory.finish("matrix", key, ["arrays.zarr/matrix/zarr.json"])
    else:
        progress.kept("ingest")
    return open_matrix(directory.arrays, layer="matrix")


def _open_stages(
    directory: RunDirectory,
    request: RunRequest,
    matrix_key: str,
    matrix: Any,
    executor: Executor,
    resources: Resources,
    progress: Progress,
) -> _RunStages:
    ledger = _RunLedger(directory)
    stages = _RunStages(
        matrix,
        z_score=request.z_score,
        standard_scale=request.standard_scale,
        dtype=request.dtype,
        executor=executor,
        resources=resources,
        store=directory.arrays,
        progress=progress,
        ledger=ledger,
    )
    normalized = {"z_score": request.z_score, "standard_scale": request.standard_scale}
    stages.run_directory = directory
    stages.key = stage_key(matrix=matrix_key, **normalized)
    for axis, spec in zip(_AXES, (request.row, request.column), strict=True):
        ledger.keys[f"distance-{axis}"] = stage_key(
            matrix=stages.key, metric=spec.metric, dtype=stages.dtype, axis=axis
        )
    return stages


def _compute(
    directory: RunDirectory,
    request: RunRequest,
    spec: RunSpec,
    stages: _RunStages,
    client: Client | None,
) -> dict[str, str]:
    """Make the trees that are not there yet, and write what is told of them."""
    files = {}
    for axis, name in enumerate(_AXES):
        with stage_report(client, directory.path / "report" / f"linkage_{name}.html"):
            linkage = _tree(directory, spec.axis(axis), axis, stages)
        n = stages.shape[axis]
        order = np.arange(n) if linkage is None else leaf_order(linkage)
        labels = stages.labels(axis, np.arange(n))
        _write_order(directory, f"order_{name}.txt", labels, order)
        files[f"order_{name}"] = f"order_{name}.txt"
        if linkage is None:
            directory.file(f"linkage_{name}.npy").unlink(missing_ok=True)
            continue
        files[f"linkage_{name}"] = f"linkage_{name}.npy"
        where = (request.row_cut, request.column_cut)[axis]
        if where:
            clusters = cut(linkage, k=where.k, height=where.height)
            _write_clusters(directory, f"clusters_{name}.tsv", labels, order, clusters)
            files[f"clusters_{name}"] = f"clusters_{name}.tsv"
    return files


def _tree(
    directory: RunDirectory, spec: AxisSpec, axis: int, stages: _RunStages
) -> np.ndarray | None:
    if not spec.cluster:
        return None
    name = _AXES[axis]
    stage, file = f"linkage-{name}", f"linkage_{name}.npy"
    key = stage_key(matrix=stages.key, axis=name, **asdict(spec))
    if directory.is_finished(stage, key):
        stages._progress.kept(stage)
        return check_linkage(
            np.load(directory.file(file), allow_pickle=False), stages.shape[axis], file
        )
    if spec.linkage is not None:
        given = np.load(spec.linkage, allow_pickle=False)
        linkage = check_linkage(given, stages.shape[axis], spec.linkage)
    else:
        linkage = stages.linkage(
            axis,
            method=spec.method,
            metric=spec.metric,
            optimal_ordering=spec.optimal_ordering,
        )
    with directory.publish(file) as path:
        np.save(path, linkage)
    directory.finish(stage, key, [file])
    return linkage


def _escape(label: str) -> str:
    """One line a label, whatever it holds."""
    return (
        label.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )


def _write_order(directory: RunDirectory, name: str, labels: list[str], order: np.ndarray) -> None:
    directory.write_text(name, "".join(f"{_escape(labels[row])}\n" for row in order))


def _write_clusters(
    directory: RunDirectory,
    name: str,
    labels: list[str],
    order: np.ndarray,
    clusters: np.ndarray,
) -> None:
    lines = [f"{_escape(labels[row])}\t{place}\t{clusters[row]}" for place, row in enumerate(order)]
    directory.write_text(name, "label\tposition\tcluster\n" + "\n".join(lines) + "\n")


def draw(
    directory: RunDirectory,
    options: FigureOptions,
    *,
    stages: Stages,
    output: str = "figure",
) -> dict[str, str]:
    """Draw the picture of a run from its trees and its matrix.

    Returns
    -------
    dict
        Names of the written files, by their format.
    """
    import matplotlib.pyplot as plt
    from matplotlib import rc_context

    # The body is reduced for the resolution the figure is saved at; text stays text in vectors.
    style: Any = {
        "figure.dpi": options.dpi,
        "savefig.dpi": options.dpi,
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
    }
    files = {}
    with rc_context(style):
        grid = _grid(directory, options, stages)
        try:
            for suffix in options.formats:
                with directory.publish(f"{output}.{suffix}") as path:
                    grid.savefig(path, format=suffix)
                files[f"figure_{suffix}"] = f"{output}.{suffix}"
        finally:
            plt.close(grid.figure)
    return files


def _grid(directory: RunDirectory, options: FigureOptions, stages: Stages) -> ClusterGrid:
    from clustergrid.pipeline.render import ClusterGrid

    trees = [_stored_tree(directory, axis) for axis in _AXES]
    colors = [
        _read_colors(directory.file(f"{axis}_colors.tsv"))
        if directory.file(f"{axis}_colors.tsv").exists()
        else None
        for axis in _AXES
    ]
    grid = ClusterGrid(
        None,
        figsize=options.figsize_inches,
        row_colors=colors[0],
        col_colors=colors[1],
        dendrogram_ratio=0.2,
        colors_ratio=0.03,
        cbar_pos=(0.02, 0.8, 0.05, 0.18),
        stages=stages,
    )
    grid.plot(
        "euclidean",
        "average",
        {} if options.cbar_label is None else {"label": options.cbar_label},
        trees[0] is not None,
        trees[1] is not None,
        trees[0],
        trees[1],
        None,
        **options.heatmap,
    )
    if options.legend:
        grid.add_legend(options.legend)
    return grid


def _stored_tree(directory: RunDirectory, axis: str) -> np.ndarray | None:
    file = directory.file(f"linkage_{axis}.npy")
    if not file.exists():
        return None
    linkage: np.ndarray = np.load(file, allow_pickle=False)
    return linkage


def plot_run(path: Path, options: FigureOptions, *, output: str = "figure") -> dict[str, str]:
    """Draw a finished run again; nothing but a picture of other resolution is computed.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, or its run is not finished.
    """
    directory = RunDirectory(path)
    if "finished" not in directory.state:
        raise RunDirectoryError(f"the run in {path} is not finished: run the same command again")
    asked = directory.state["request"]
    matrix_key = stage_key(input=directory.state["input"])
    in_run = directory.is_finished("matrix", matrix_key)
    matrix = (
        open_matrix(directory.arrays, layer="matrix")
        if in_run
        else open_matrix(asked["input"], layer=asked["layer"], store=directory.arrays)
    )
    request = RunRequest(
        input=asked["input"],
        directory=path,
        z_score=asked["z_score"],
        standard_scale=asked["standard_scale"],
        dtype=asked["dtype"],
    )
    resources = Resources(memory_bytes=available_memory_bytes(), threads=available_cores())
    stages = _open_stages(
        directory, request, matrix_key, matrix, ThreadsExecutor(), resources, Progress()
    )
    return draw(directory, options, stages=stages, output=output)
