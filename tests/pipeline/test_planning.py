"""Plans: sizes, tiles that fit, refusals that say what would do."""

import json
import re
from dataclasses import replace

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import plan
from clustergrid.pipeline.errors import DiskSpaceError, MemoryLimitError
from clustergrid.pipeline.planning import (
    DescribedCluster,
    Resources,
    format_bytes,
    parse_bytes,
    plan_run,
    tile_the_triangle,
)
from clustergrid.pipeline.refusal import refuse_too_little_disk
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, TriangleGrid
from tests.budget import examples
from tests.pipeline.plans import distances, memories, refusal, shapes, specs, threads, ways


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        (" 512 mib ", 2**29),
        ("10k", 10_000),
        (".5TB", 5 * 10**11),
        ("3 KiB", 3072),
        ("700b", 700),
        ("1000", 1000),
        ("34.3 GB", 34_300_000_000),  # not a byte less, as of floats
        (1, 1),
        (np.int64(12), 12),
        (2.5e9, 2_500_000_000),
    ],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "8GBs", "-8GB", "0", 0, -5, True, None, "8 G B", "1e9", "GB", "0.2B", "8XB", "nan"]
)
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"not a size in bytes: .*Write it like '8GB'"):
        parse_bytes(text)


@given(st.floats(1, 1e17))
def test_written_sizes_are_read_again(size):
    text = format_bytes(size)
    assert len(text.split()[0]) <= 6
    assert "e" not in text
    assert parse_bytes(text) == pytest.approx(size, rel=0.006, abs=1)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_600, "1 MB"),
        (31_550_000_000, "31.6 GB"),
        (1.5e15, "1.5 PB"),
        (8.01e24, "8010000 EB"),
    ],
)
def test_sizes_have_three_digits(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(("memory", "cores"), [(0, 1), (-1, 1), (1, 0), (1, -2)])
def test_resources_are_positive(memory, cores):
    words = f"positive, got {memory} bytes and {cores} threads"
    with pytest.raises(ValueError, match=words):
        Resources(memory_bytes=memory, threads=cores)


def tile_work(n, k, itemsize):
    matrix = StoredMatrix(shape=(n, k), itemsize=itemsize)
    return TileWork(n=n, k=k, itemsize=itemsize, matrix=matrix)


@given(shapes, st.sampled_from([4, 8]), memories, threads, st.integers(0, 10**12))
def test_tiles_fit_the_budget(shape, itemsize, memory, cores, held):
    n, k = shape
    resources = Resources(memory_bytes=memory, threads=cores)
    work = tile_work(n, k, itemsize)
    error = refusal(lambda: tile_the_triangle(work, resources, held_bytes=held))
    if error is not None:
        assert error.limit_bytes == memory < error.needed_bytes
        resources = Resources(memory_bytes=error.needed_bytes, threads=cores)
    tiling = tile_the_triangle(work, resources, held_bytes=held)
    assert tiling.tile_edge % BLOCK_ROWS == 0
    assert tiling.features_at_once % BLOCK_FEATURES == 0
    assert held + cores * tiling.task_bytes <= resources.memory_bytes
    # A tile, and two slabs of values for it.
    edge, features = min(tiling.tile_edge, n), min(tiling.features_at_once, k)
    assert tiling.task_bytes >= itemsize * edge**2 + 2 * 8 * edge * features


def test_tiles_are_few_but_enough_for_every_thread():
    for n in (5_000, 30_000, 200_000):
        for cores in (1, 8):
            resources = Resources(memory_bytes=10**12, threads=cores)
            tiling = tile_the_triangle(tile_work(n, 100, 8), resources)
            tiles = TriangleGrid(n=n, tile_edge=tiling.tile_edge).n_tiles
            assert tiles <= 50_000
            assert tiles >= 16 * cores or tiling.tile_edge == BLOCK_ROWS


@settings(max_examples=examples(200), deadline=None)
@given(specs, shapes, memories, st.integers(1, 10), threads, ways)
def test_more_memory_never_refuses_what_less_accepted(spec, shape, memory, more, cores, way):
    def try_with(memory_bytes):
        resources = Resources(memory_bytes=memory_bytes, threads=cores)
        return plan_run(spec, shape, 8, resources, **way)

    error = refusal(lambda: try_with(memory))
    if error is not None:
        assert error.limit_bytes == memory < error.needed_bytes
        assert f"memory={format_bytes(error.needed_bytes)!r} would do" in str(error)
        # What the message says is enough, and a tenth less is not.
        assert parse_bytes(format_bytes(error.needed_bytes)) == error.needed_bytes
        with pytest.raises(MemoryLimitError):
            try_with(max(memory, error.needed_bytes * 9 // 10))
        memory = error.needed_bytes
    assert try_with(memory).peak_memory_bytes <= memory
    assert try_with(memory * more).peak_memory_bytes <= memory * more
    assert try_with(memory + more).peak_memory_bytes <= memory + more


@given(specs, shapes, ways)
def test_stages_are_in_the_order_of_the_data(spec, shape, way):
    found = plan_run(spec, shape, 8, Resources(memory_bytes=10**15, threads=4), **way)
    names = [stage.name for stage in found.stages]
    expected = ["ingest"] * way["ingest"] + ["statistics"]
    for axis, name in ((0, "row"), (1, "col")):
        asked, n, k = spec.axis(axis), shape[axis], shape[1 - axis]
        if not asked.cluster:
            continue
        # Of much memory, and more rows than so many, unless these take more than their square.
        itemsize = 4 if asked.dtype == "float32" else 8
        is_data = asked.engine == "data" or (
            asked.engine is None
            and n > (8192 if k <= {4: 100, 8: 300}[itemsize] else 32_768)
            and 16 * k <= itemsize * n
        )
        expected += [f"distance-{name}"] * (not (is_data and way["trees"]))
        expected += [f"linkage-{name}"] * way["trees"]
    assert names == [*expected, "downsample", "picture"]
    assert all(stage.tasks >= 1 for stage in found.stages)
    assert found.peak_memory_bytes == max(stage.peak_memory_bytes for stage in found.stages)
    left = [stage.bytes_written - stage.scratch_bytes for stage in found.stages]
    assert found.disk_bytes == sum(left)
    for stage in found.stages:
        assert stage.name in str(found)


def test_what_draws_nothing_needs_no_memory_for_a_picture():
    # The figure holds its pixels in a few forms; the pass, images of parts of the rows.
    resources = Resources(memory_bytes=2 * 10**9, threads=8)
    given = {"in_memory": True, "ingest": False, "pixels": 4000 * 4000}
    found = plan_run(RunSpec(), (2000, 2000), 8, resources, **given, pictures=0)
    assert {stage.name.split("-")[0] for stage in found.stages} == {
        "statistics",
        "distance",
        "linkage",
    }
    with pytest.raises(MemoryLimitError, match="the stage picture needs"):
        plan_run(RunSpec(), (2000, 2000), 8, resources, **given)


def test_a_linkage_that_is_given_is_not_planned():
    spec = RunSpec(row=AxisSpec(linkage="tree.npy"))
    found = plan_run(
        spec,
        (10**6, 5),
        8,
        Resources(memory_bytes=10**10, threads=2),
        in_memory=False,
        ingest=False,
    )
    assert "distance-row" not in [stage.name for stage in found.stages]


def test_distances_at_rest_do_not_take_their_square():
    shape = (200_000, 50)
    resources = Resources(memory_bytes=10**10, threads=2)
    spec = RunSpec(row=AxisSpec(engine="square"), column=AxisSpec(cluster=False))
    with pytest.raises(MemoryLimitError, match="the stage linkage-row needs 321 GB"):
        plan_run(spec, shape, 8, resources, in_memory=False, ingest=False)
    found = plan_run(spec, shape, 8, resources, in_memory=False, ingest=False, trees=False)
    assert found.disk_bytes == pytest.approx(8 * 200_000**2 / 2, rel=0.05)


def test_a_plan_reads_nothing():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    lazy = dask.array.zeros((100_000, 50), chunks=(10_000, 50))
    matrix = xr.DataArray(lazy, dims=("gene", "sample"))
    with dask.config.set(scheduler=refuse):
        found = plan(matrix, memory="20GB")
        assert found.shape == (100_000, 50)
        assert found.stages[0].name == "statistics"  # 40 MB are gathered when they are wanted
        assert "distance-row" not in [stage.name for stage in found.stages]
        assert plan(matrix, memory="200GB", engine="square").stages[1].name == "distance-row"
        with pytest.raises(MemoryLimitError, match="float32"):
            plan(matrix, memory="20GB", engine="square")


def test_a_plan_is_a_table_for_people():
    text = str(plan(np.zeros((3000, 40)), memory="4GB", method="ward"))
    table, reasons, total = (part.splitlines() for part in text.split("\n\n"))
    assert " ".join(table[0].split()) == "stage engine tasks reads writes driver seconds"
    assert len({len(line) for line in table}) == 1
    assert len(table) == len(reasons) + 1
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "ward, square" in text
    assert "ward is reducible: rounds of near pairs" in text
    assert total[0].startswith("3,000 rows x 40 columns, ")
    assert "stages meet in memory" in total[0]
    assert "of 4 GB memory" in total[1]
    assert total[2].startswith("about ")


def test_the_table_shows_what_a_worker_takes():
    resources = Resources(memory_bytes=10**10, threads=8, worker_processes=2)
    found = plan_run(distances, (30_000, 500), 8, resources, in_memory=False, ingest=True)
    assert "each worker" in str(found).splitlines()[0]
    assert "8 threads in 2 worker processes" in str(found)
    assert all(len(line) <= 100 for line in str(found).splitlines())
    for stage in found.stages:
        assert stage.worker_memory_bytes > 0
        # A tree has two parts, the search for duplicates in workers and its own in the driver.
        both = stage.driver_memory_bytes + 2 * stage.worker_memory_bytes
        if stage.name.startswith("linkage"):
            assert stage.driver_memory_bytes < stage.peak_memory_bytes < both
        else:
            assert stage.peak_memory_bytes == both


def test_a_plan_is_json():
    found = plan(np.zeros((3000, 40)), memory="4GB")
    told = json.loads(json.dumps(found.as_dict()))
    assert told["shape"] == [3000, 40]
    assert told["seconds"] == pytest.approx(found.seconds, abs=1e-3)
    assert told["disk_bytes"] == found.disk_bytes
    assert [stage["name"] for stage in told["stages"]] == [stage.name for stage in found.stages]
    for stage in told["stages"]:
        assert stage["reason"]
        assert stage["seconds"] >= 0
        assert stage["peak_memory_bytes"] <= told["peak_memory_bytes"]


def test_the_stage_that_needs_most_is_named():
    with pytest.raises(
        MemoryLimitError, match=r"the stage linkage-row needs .*: the square matrix"
    ):
        plan(np.zeros((9000, 4)), memory="500MB", engine="square")
    with pytest.raises(
        MemoryLimitError, match=r"needs .* with 2 threads, .* would do; or: one thr"
    ):
        plan_run(
            RunSpec(row=AxisSpec(cluster=False), column=AxisSpec(cluster=False)),
            (5000, 5000),
            8,
            Resources(memory_bytes=10**8, threads=2),
            in_memory=False,
            ingest=False,
        )


def test_alternatives_say_what_they_need_and_whether_it_fits():
    shape, resources = (30_000, 500), Resources(memory_bytes=5 * 10**9, threads=2)

    def planned(spec, using=resources):
        return plan_run(spec, shape, 8, using, in_memory=False, ingest=False)

    with pytest.raises(MemoryLimitError) as refused:
        planned(distances)
    found = re.findall(r"(\S+) needs ([\d.]+ .B) \((.*?)\)", str(refused.value).split("; or: ")[1])
    told = {change: (parse_bytes(size), verdict) for change, size, verdict in found}
    assert told["dtype='float32'"][1] == told["row_cluster=False"][1] == "that fits"
    assert "col_cluster=False" not in told  # it saves nothing
    no_rows = replace(distances, row=AxisSpec(cluster=False))
    single = AxisSpec(dtype="float32", engine="square")
    of_rows = AxisSpec(engine="data")
    for spec, change in (
        (no_rows, "row_cluster=False"),
        (RunSpec(row=single, column=single), "dtype='float32'"),
        (RunSpec(row=of_rows, column=of_rows), "engine='data'"),
    ):
        enough = told[change][0]
        assert planned(spec, replace(resources, memory_bytes=enough)).peak_memory_bytes <= enough
        with pytest.raises(MemoryLimitError):
            planned(spec, replace(resources, memory_bytes=enough * 9 // 10))


def test_workers_of_ones_own_cost_memory_that_threads_do_not():
    def least(workers):
        resources = Resources(memory_bytes=10**6, threads=8, worker_processes=workers)
        with pytest.raises(MemoryLimitError) as refused:
            plan_run(RunSpec(), (5000, 5000), 8, resources, in_memory=False, ingest=False)
        return refused.value

    assert least(2).needed_bytes > least(0).needed_bytes
    assert "cluster='none' needs" in str(least(2))
    assert "cluster='none'" not in str(least(0))


@pytest.mark.parametrize("missing", ["workers", "cores", "memory_bytes"])
def test_a_cluster_has_workers_cores_and_memory(missing):
    described = {"workers": 2, "cores": 2, "memory_bytes": 10**9, missing: 0}
    with pytest.raises(ValueError, match="a cluster has workers, cores and memory"):
        DescribedCluster(**described)


def disk_plan(**options):
    resources = Resources(memory_bytes=10**11, threads=2, worker_processes=1)
    return plan_run(distances, (40_000, 500), 8, resources, in_memory=False, ingest=True, **options)


def test_too_little_disk_is_refused_with_what_would_do():
    found = disk_plan()
    needed = found.disk_bytes
    refuse_too_little_disk(found, free_bytes=needed, kept_bytes={}, path="/runs/a")
    with pytest.raises(DiskSpaceError, match=r"to /runs/a .* are free there") as refused:
        refuse_too_little_disk(found, free_bytes=needed // 10 * 6, kept_bytes={}, path="/runs/a")
    assert refused.value.path == "/runs/a"
    assert needed <= refused.value.needed_bytes <= needed * 1.01
    text = str(refused.value)
    assert isinstance(refused.value, OSError)
    assert "in the stage distance-row" in text
    assert re.search(r"dtype='float32' needs [\d.]+ GB \(that fits\)", text)
    assert re.search(r"row_cluster=False needs [\d.]+ .B \(that fits\)", text)
    assert re.search(r"in Zarr, used where it is, needs [\d.]+ GB \(still too much\)", text)


def test_what_is_written_already_needs_no_room():
    found = disk_plan()
    stages = {stage.name: stage.disk_bytes for stage in found.stages}
    refuse_too_little_disk(found, free_bytes=0, kept_bytes=stages, path="/")
    # More than planned in one place leaves no room for another.
    more = {"distance-row": 10 * stages["distance-row"]}
    with pytest.raises(DiskSpaceError):
        refuse_too_little_disk(found, free_bytes=0, kept_bytes=more, path="/")
    half = {"distance-row": stages["distance-row"] // 2}
    with pytest.raises(DiskSpaceError) as refused:
        refuse_too_little_disk(found, free_bytes=0, kept_bytes=half, path="/")
    assert refused.value.needed_bytes == pytest.approx(
        sum(stages.values()) - half["distance-row"], rel=0.01
    )


def test_tiles_of_tasks_elsewhere_fit_their_workers():
    def tiling(task_bytes, threads=1600):
        resources = Resources(
            memory_bytes=4 * 10**9,
            threads=threads,
            worker_processes=threads,
            elsewhere=True,
            worker_memory_bytes=2 * task_bytes,
        )
        work = tile_work(200_000, 2_000, 4)
        return tile_the_triangle(work, resources, held_bytes=3 * 10**9)

    assert tiling(10**9).task_bytes <= 10**9
    assert tiling(2 * 10**8, threads=16).tile_edge < tiling(10**9, threads=16).tile_edge
    # A thousand threads elsewhere take nothing of this machine's memory.
    assert tiling(10**9, threads=16_000).task_bytes <= 10**9
    with pytest.raises(MemoryLimitError, match="has 1 MB for each"):
        tiling(10**6)


# Ranks, covariances and packed distances.


def only_rows(metric, **options):
    return RunSpec(row=AxisSpec(metric=metric, **options), column=AxisSpec(cluster=False))


def test_ranks_stay_in_memory_where_they_are_small_beside_it():
    shape, memory = (20_000, 500), 16 * 10**9
    ranks_bytes = 20_000 * 500 * 4

    def stages(memory, **way):
        way = {"in_memory": False, "ingest": True, **way}
        found = plan_run(only_rows("spearman", engine="square"), shape, 8, memory, **way)
        return found, {stage.name: stage for stage in found.stages}

    here, names = stages(Resources(memory_bytes=memory, threads=2))
    ranks = names["ranks-row"]
    assert (ranks.bytes_written, ranks.scratch_bytes, ranks.bytes_read) == (0, 0, 20_000 * 500 * 8)
    assert names["distance-row"].bytes_read == 0
    assert "in memory" in ranks.reason
    there, names = stages(Resources(memory_bytes=memory, threads=2, worker_processes=2))
    ranks, tiles = names["ranks-row"], names["distance-row"]
    assert ranks.bytes_written == ranks.scratch_bytes == tiles.earlier_scratch_bytes == ranks_bytes
    assert tiles.bytes_read % ranks_bytes == 0
    assert tiles.bytes_read >= 2 * ranks_bytes
    assert there.disk_bytes == here.disk_bytes
    assert there.peak_disk_bytes >= here.disk_bytes + ranks_bytes - 10**7
    with pytest.raises(DiskSpaceError):
        refuse_too_little_disk(
            there, free_bytes=there.peak_disk_bytes - 10**6, kept_bytes={}, path="/x"
        )
    refuse_too_little_disk(there, free_bytes=there.peak_disk_bytes, kept_bytes={}, path="/x")


@settings(deadline=None, max_examples=examples(60))
@given(
    st.integers(2, 60_000), st.integers(1, 60_000), st.integers(10**8, 10**11), threads,
    st.sampled_from(["spearman", "mahalanobis", "cityblock", "nan_spearman"]), ways,
)  # fmt: skip
@example(
    # What is enough with ranks at rest, rounded up, lets them stay in memory.
    57_207, 8_627, 10**8, 16, "spearman", {"in_memory": False, "ingest": False, "trees": True},
)  # fmt: skip
def test_what_a_refusal_says_is_enough_whatever_the_metric(n, k, memory, cores, metric, way):
    def planned(memory_bytes):
        resources = Resources(memory_bytes=memory_bytes, threads=cores)
        return plan_run(only_rows(metric), (n, k), 8, resources, **way)

    error = refusal(lambda: planned(memory))
    if error is None:
        assert planned(memory).peak_memory_bytes <= memory
        return
    assert error.needed_bytes > memory
    assert planned(error.needed_bytes).peak_memory_bytes <= error.needed_bytes


@pytest.mark.parametrize("memory", [3 * 10**9, 32 * 10**8])
def test_a_tree_of_tiles_has_what_ranks_in_memory_leave(memory):
    def tree(metric):
        resources = Resources(memory_bytes=memory, threads=2)
        way = {"in_memory": True, "ingest": False}
        found = plan_run(only_rows(metric, engine="tiles"), (20_000, 500), 8, resources, **way)
        assert found.peak_memory_bytes <= memory
        return found.tree(0)

    ranks, values = tree("spearman"), tree("correlation")
    assert ranks.tree_bytes == values.tree_bytes - 20_000 * 500 * 4
    assert ranks.peak_memory_bytes == values.peak_memory_bytes == memory


def test_ranks_that_a_tree_is_made_of_are_gone_afterwards():
    resources = Resources(memory_bytes=16 * 10**9, threads=2, worker_processes=2)
    way = {"in_memory": False, "ingest": True}
    found = plan_run(only_rows("spearman"), (20_000, 500), 8, resources, **way)
    names = {stage.name: stage for stage in found.stages}
    ranks, tree = names["ranks-row"], names["linkage-row"]
    assert "distance-row" not in names
    assert ranks.scratch_bytes == tree.earlier_scratch_bytes == 20_000 * 500 * 4
    assert tree.bytes_read >= 2 * ranks.scratch_bytes


def test_packed_distances_take_half_of_their_square():
    def peak(n, *, trees):
        resources = Resources(memory_bytes=10**12, threads=2)
        found = plan_run(
            only_rows("euclidean", engine="square"), (n, 50), 8, resources,
            in_memory=True, ingest=False,
            trees=trees, pictures=0,
        )  # fmt: skip
        (stage,) = [stage for stage in found.stages if stage.name == "distance-row"]
        return stage.peak_memory_bytes

    square = 8 * 60_000**2
    assert peak(60_000, trees=True) > square
    assert 0.5 * square < peak(60_000, trees=False) < 0.6 * square


def test_a_covariance_is_held_by_the_driver():
    def driver(metric):
        resources = Resources(memory_bytes=10**12, threads=1)
        found = plan_run(
            only_rows(metric, engine="square"), (30_000, 8000), 8, resources,
            in_memory=False, ingest=False,
        )  # fmt: skip
        (stage,) = [stage for stage in found.stages if stage.name == "distance-row"]
        return stage.driver_memory_bytes

    assert driver("mahalanobis") > driver("euclidean") + 48 * 8000**2
