"""Driver: the whole pipeline in a run directory, resumed where it stopped."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.annotation_files import annotations_of
from clustergrid.pipeline.changes import describe_changes
from clustergrid.pipeline.checks import refuse_one_observation
from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.clusters.jobqueue import JobFolder
from clustergrid.pipeline.dashboard.watching import watch_run
from clustergrid.pipeline.drawing import check_figure, draw
from clustergrid.pipeline.execution import (
    DaskExecutor,
    Executor,
    ThreadsExecutor,
    available_cores,
    available_memory_bytes,
    resources_of,
)
from clustergrid.pipeline.footprint import DRIVER_BYTES
from clustergrid.pipeline.intake import (
    bind_input,
    describe_input,
    keep_matrix,
    matrix_key,
    needs_copy,
    open_input,
    refuse_changed,
    refuse_overlap,
    verify_matrix,
)
from clustergrid.pipeline.jobs.folder import jobs_folder, make_jobs_folder, place_of
from clustergrid.pipeline.jobs.names import worker_job_name
from clustergrid.pipeline.kept import RunStages, distance_key, drop_scratch, normalization_key
from clustergrid.pipeline.keyword_files import keep_keywords
from clustergrid.pipeline.memory import MemorySampler
from clustergrid.pipeline.monitor import JsonLines, Listener, Progress
from clustergrid.pipeline.outputs import (
    check_cut,
    colors_of,
    cut_tree,
    given_linkage,
    keep_tables,
    stored_linkage,
    write_clusters,
    write_order,
)
from clustergrid.pipeline.passes import drop_pieces
from clustergrid.pipeline.planning import Plan, Resources
from clustergrid.pipeline.prospect import plan_ahead
from clustergrid.pipeline.records import drop_records
from clustergrid.pipeline.reordered_store import REORDERED, drop_stale_reordered, keep_reordered
from clustergrid.pipeline.request import RunRequest
from clustergrid.pipeline.run_plan import (
    check_room,
    is_small,
    plan_of,
    planned_matrix,
    starting_resources,
)
from clustergrid.pipeline.spec import AXIS_NAMES, distance_dtype
from clustergrid.pipeline.split_files import SLICES, sliced_tree, splits_of
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.pipeline.tree_engine import makes_distances
from clustergrid.storage.lines import Lines
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath
from clustergrid.storage.readers.location import Location
from clustergrid.storage.rundir import RunDirectory, stage_key

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

__all__ = ["RunResult", "run"]


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
    peak_memory_bytes
        Most memory of this process and all it started, pages that they share counted once.
    """

    directory: StorePath
    files: dict[str, str]
    plan: Plan
    seconds: float
    peak_memory_bytes: int


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
    # Before there is a directory: what is wrong with these leaves nothing behind.
    refuse_overlap(request)
    described = describe_input(request)
    check_figure(request.figure)
    directory = RunDirectory(request.directory, create=True)
    with directory.locked(), MemorySampler() as memory:
        if directory.mended is not None:
            tell(directory.mended)
        progress = Progress(JsonLines(_new_log(directory)), *listeners, memory=memory)
        bind_input(directory, described)
        drop_scratch(directory)  # before anything looks for room
        under_way = _Run(request, directory, progress, tell)
        files = under_way.finish()
        drop_records(directory)  # also those of a question that was given up
        drop_pieces(directory)
        drop_scratch(directory)
        peak = memory.peak.total_bytes
        directory.update(finished=round(time.time(), 3), files=files, peak_memory_bytes=peak)
    return RunResult(
        directory=directory.path,
        files=files,
        plan=under_way.plan,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak,
    )


def _new_log(directory: RunDirectory) -> Lines:
    """Mark in the log where this run begins; a line that a kill left torn is ended."""
    directory.file("progress.jsonl")  # refuses a link out of the run
    log = directory.lines("progress.jsonl")
    end = "" if log.read()[-1:] in (b"", b"\n") else "\n"
    started = json.dumps({"run": "started", "time": round(time.time(), 3)})
    log.append(f"{end}{started}\n")
    return log


class _Run:
    """A run under way: the stages one after another, each unless it is there already."""

    def __init__(
        self, request: RunRequest, directory: RunDirectory, progress: Progress, tell: Notice
    ) -> None:
        self.request, self.directory, self.progress = request, directory, progress
        self._tell = tell
        self._client: Client | None = None
        self.resources = Resources(
            memory_bytes=request.memory_bytes or available_memory_bytes(DRIVER_BYTES),
            threads=available_cores(),
        )
        self._plan_ahead()
        matrix, is_kept = open_input(directory, request, progress)
        self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        self.spec = request.spec(distance_dtype(matrix.dtype, request.dtype))
        self._given = self._check_options(matrix)
        self._matrix = matrix
        before = directory.state.get("request")
        self._key = normalization_key(
            matrix_key(directory), request.z_score, request.standard_scale
        )
        clustered = [axis for axis in (0, 1) if self.spec.axis(axis).cluster]
        # Looked at once: a directory may hold tens of thousands of tiles.
        self._has_tree = {axis: self._finds_tree(axis) for axis in clustered}
        self._has_distances = {
            axis: self._finds_distances(axis)
            for axis in clustered
            if self._has_tree[axis] and makes_distances(self._was_made_from(axis))
        }
        self._unfinished = [axis for axis in clustered if not self._is_finished(axis)]
        self.plan = self._make_plan(
            starting_resources(request.cluster, self.resources, small=self._is_small)
        )
        for axis in clustered:
            tree = self.plan.tree(axis)
            if not self._has_tree[axis] and tree is not None and makes_distances(tree.made_from):
                self._has_distances[axis] = self._finds_distances(axis)
        check_room(directory, self.plan, {0, 1}.difference(self._unfinished))
        asked = _provenance(request, self.plan)
        if request.cluster.note:
            tell(request.cluster.note)
        if request.cluster.is_known_ahead:
            tell(str(self.plan))
        if before is not None:
            self._tell_changes(describe_changes(before, asked["request"]))
        # From here on the results may be of other options than those that were finished.
        directory.begin("outputs")
        directory.update(finished=None, files=None, **asked)
        self._copied = keep_tables(directory, self._tables) | keep_keywords(directory, self.spec)
        if is_kept and self._unfinished and not verify_matrix(directory, progress):
            matrix, _ = open_input(directory, request, progress)
        self._matrix = matrix

    def _plan_ahead(self) -> None:
        """Refuse, before it is copied, a long input for whose results there is no room."""
        if self.directory.is_finished("matrix", matrix_key(self.directory)):
            return
        plan = plan_ahead(self.request, self.resources)
        if plan is not None:
            check_room(self.directory, plan, ())
            self._tell(str(plan))

    def _check_options(self, matrix: xr.DataArray) -> dict[int, tuple[np.ndarray, str]]:
        """Refuse what can be refused before anything is computed; return trees that are given."""
        self.spec.check_features(self.shape)
        given = {}
        for axis, n in enumerate(self.shape):
            check_cut(self.request, axis, n)
            path = self.spec.axis(axis).linkage
            if path is not None:
                given[axis] = given_linkage(path, n)
            elif self.spec.axis(axis).cluster:
                refuse_one_observation(matrix, axis)
        readers = colors_of, annotations_of, splits_of
        self._tables = {
            name: table for read in readers for name, table in read(self.request, matrix).items()
        }
        return given

    def _make_plan(self, resources: Resources) -> Plan:
        copied = needs_copy(self._matrix)
        return plan_of(
            self.request,
            planned_matrix(self._matrix, copied),
            resources,
            directory=self.directory.path,
            # What is done already takes no longer for being measured.
            measure=copied or bool(self._unfinished),
        )

    def _plan_for_workers(self, resources: Resources) -> None:
        """Plan for the workers of the scheduler that was joined, of which nobody knew before."""
        self.plan = self._make_plan(resources)
        check_room(self.directory, self.plan, {0, 1}.difference(self._unfinished))
        self._tell(str(self.plan))
        self.directory.update(**_plan_entries(self.plan))

    def _is_finished(self, axis: int) -> bool:
        """Whether there is nothing to compute for the tree of a clustered axis."""
        return self._has_tree[axis] and (axis in self._given or self._has_distances.get(axis, True))

    def _was_made_from(self, axis: int) -> str:
        """Say what the tree that is there was made from; empty of one that was given."""
        entry = self.directory.state["stages"][f"linkage-{AXIS_NAMES[axis]}"]
        return str(entry.get("made_from", ""))

    def _finds_tree(self, axis: int) -> bool:
        return self.directory.is_finished(f"linkage-{AXIS_NAMES[axis]}", self._tree_key(axis))

    def _finds_distances(self, axis: int) -> bool:
        spec = self.spec.axis(axis)
        key = distance_key(self._key, axis, spec.found_metric, spec.dtype)
        return self.directory.is_finished(f"distance-{AXIS_NAMES[axis]}", key)

    def _tell_changes(self, changes: list[str]) -> None:
        """Say what of an earlier run is kept, and what is made anew because of which options."""
        kept = {
            f"{stage}-{AXIS_NAMES[axis]}": is_there
            for stage, found in (("distance", self._has_distances), ("linkage", self._has_tree))
            for axis, is_there in found.items()
        }
        there = [name for name, is_there in kept.items() if is_there]
        missing = [name for name, is_there in kept.items() if not is_there]
        if changes:
            self._tell(f"options that changed since the last run: {'; '.join(changes)}")
        if there:
            self._tell(f"kept from the last run: {', '.join(there)}")
        if missing:
            self._tell(f"to be made or gone on with: {', '.join(missing)}")

    def _tree_key(self, axis: int) -> str:
        spec = self.spec.axis(axis)
        if axis in self._given:
            return stage_key(given=self._given[axis][1], axis=AXIS_NAMES[axis])
        asked = {name: value for name, value in spec.to_json().items() if name != "linkage"}
        if self.request.split(axis):
            asked["split"] = self._tables[f"{AXIS_NAMES[axis]}_split"].to_csv()
        return stage_key(matrix=self._key, axis=AXIS_NAMES[axis], **asked)

    @property
    def _is_small(self) -> bool:
        """Whether this process does the rest in a moment, or it is done already."""
        largest = max((self.shape[axis] for axis in self._unfinished), default=0)
        if not (self._unfinished or needs_copy(self._matrix)):
            return True
        return not self.request.cluster.is_elsewhere and is_small(largest, self._matrix.nbytes)

    def finish(self) -> dict[str, str]:
        """Go through the stages; return the files they left."""
        if self._is_small:
            if not self.request.cluster.is_known_ahead:
                self._tell(str(self.plan))
            return self._finish()
        choice, folder = self.request.cluster, self._job_folder()
        with connect(choice, self.resources, folder=folder, tell=self._tell) as self._client:
            if self._client is not None and not choice.is_known_ahead:
                executor = DaskExecutor(self._client)
                self._plan_for_workers(resources_of(executor, self.resources.memory_bytes))
            asked = (self.request, self.directory, self.shape)
            with watch_run(self._client, *asked, self.progress, self._tell):
                return self._finish()

    def _job_folder(self) -> JobFolder:
        """Where jobs of workers leave what: in the run, or at home where that is in a bucket."""
        path = self.directory.path.resolve()
        is_outside = isinstance(path, ObjectPath) and self.request.cluster.is_queue
        folder = make_jobs_folder(path) if is_outside else jobs_folder(path)
        return JobFolder(path=folder, job_name=worker_job_name(place_of(path)))

    def _finish(self) -> dict[str, str]:
        request, directory = self.request, self.directory
        executor: Executor = ThreadsExecutor()
        if self._client is not None:
            described = request.cluster.described
            expected = 0 if described is None else described.workers * described.cores
            executor = DaskExecutor(self._client, expected_threads=expected)
        resources = self.plan.resources
        if self._client is None:
            resources = resources_of(executor, self.resources.memory_bytes)
        matrix = keep_matrix(
            directory,
            self._matrix,
            executor,
            self.progress,
            request=request,
            copy_bytes=resources.copy_bytes,
        )
        stages = RunStages(
            directory,
            matrix_key(directory),
            matrix,
            z_score=request.z_score,
            standard_scale=request.standard_scale,
            dtype=request.dtype,
            executor=executor,
            resources=resources,
            progress=self.progress,
        )
        # What a resumed run lost of them is made again, whoever wants them.
        _ = stages.statistics
        files = dict(self._copied)
        for axis in (0, 1):
            files |= self._axis_files(axis, self._tree(axis, stages), stages)
        files |= draw(directory, request.figure, stages, self.progress)
        reordered = self._reordered(stages)
        if directory.state["matrix"]["used_in_place"]:
            refuse_changed(directory, request)
        self._note_outputs(files)
        return files | reordered

    def _reordered(self, stages: RunStages) -> dict[str, str]:
        """Write the matrix in clustered order, if that was asked for; of another one none stays."""
        row_order, column_order = (
            np.arange(n) if linkage is None else leaf_order(linkage)
            for n, linkage in (
                (n, stored_linkage(self.directory, axis, n)) for axis, n in enumerate(self.shape)
            )
        )
        orders = np.asarray(row_order, np.int64), np.asarray(column_order, np.int64)
        if not self.request.reordered:
            drop_stale_reordered(self.directory, stages, orders, reordered=False, pyramid=False)
            return {}
        keep_reordered(self.directory, stages, orders, pyramid=self.request.pyramid)
        return {"reordered": REORDERED}

    def _note_outputs(self, files: dict[str, str]) -> None:
        """Note the digests of what no stage of its own has noted."""
        directory = self.directory
        directory.begin("outputs")
        noted = {name for entry in directory.state["stages"].values() for name in entry["files"]}
        reports = (f"report/{report.name}" for report in directory.path.glob("report/*.html"))
        names = {"README.txt", *files.values(), *reports}
        directory.finish("outputs", "", files=sorted(names - noted))

    def _tree(self, axis: int, stages: RunStages) -> np.ndarray | None:
        """Tree of an axis: kept, given or computed; None if the axis is not clustered."""
        directory, spec = self.directory, self.spec.axis(axis)
        stage, file = f"linkage-{AXIS_NAMES[axis]}", f"linkage_{AXIS_NAMES[axis]}.npy"
        if not spec.cluster:
            directory.begin(stage)
            directory.file(file).unlink(missing_ok=True)
            return None
        if self._has_tree[axis]:
            if axis in self._unfinished:
                # Tiles that were found damaged after the tree had been made of them.
                stages.distances(axis, metric=spec.metric, metric_kws=spec.metric_kws)
            self.progress.kept(stage)
            return stored_linkage(directory, axis, self.shape[axis])
        made_from = ""
        if axis in self._given:
            linkage = self._given[axis][0]
        elif self.request.split(axis):
            linkage, made_from = sliced_tree(directory, stages, axis, spec), SLICES
        else:
            linkage = stages.linkage(
                axis,
                method=spec.method,
                metric=spec.metric,
                metric_kws=spec.metric_kws,
                optimal_ordering=spec.optimal_ordering,
                engine=spec.engine,
            )
            made_from = stages.made_from[axis]
        directory.begin(stage)
        with directory.publish(file) as path:
            np.save(path, linkage)
        directory.finish(stage, self._tree_key(axis), files=[file], made_from=made_from)
        drop_records(directory, stage)
        return linkage

    def _axis_files(
        self, axis: int, linkage: np.ndarray | None, stages: RunStages
    ) -> dict[str, str]:
        """Write what is told of a tree; remove what an earlier run told of another."""
        name, directory = AXIS_NAMES[axis], self.directory
        everything = np.arange(self.shape[axis])
        labels = stages.labels(axis, everything)
        order = everything if linkage is None else leaf_order(linkage)
        files = {f"order_{name}": write_order(directory, axis, labels, order)}
        clusters = None if linkage is None else cut_tree(linkage, self.request, axis)
        if linkage is not None:
            files[f"linkage_{name}"] = f"linkage_{name}.npy"
        if clusters is None:
            directory.file(f"clusters_{name}.tsv").unlink(missing_ok=True)
        else:
            files[f"clusters_{name}"] = write_clusters(directory, axis, labels, order, clusters)
        return files


def _plan_entries(plan: Plan) -> dict[str, Any]:
    """Entries of ``run.json``: what was planned, and the rates that its seconds are of."""
    return {"plan": [stage.as_dict() for stage in plan.stages], "rates": asdict(plan.rates)}


def _provenance(request: RunRequest, plan: Plan) -> dict[str, Any]:
    """Entries of ``run.json``: what was asked, with which versions."""
    # `plot` may be called from another working directory.
    asked = request.to_json() | {"input": Location.parse(request.input).shown}
    packages = ("clustergrid", "dask", "matplotlib", "numba", "numpy", "scipy", "xarray", "zarr")
    return {
        "request": json.loads(json.dumps(asked)),
        "shape": list(plan.shape),
        **_plan_entries(plan),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        # Nothing in a run is drawn at random.
        "seeds": {},
    }
