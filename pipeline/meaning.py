"""Driver: what every result of a finished run means, compared with SciPy and with the matrix.

Samples are drawn from a fixed seed: what is checked today is checked tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from clustergrid.pipeline.escapes import escape_label
from clustergrid.pipeline.kept import RunStages, distance_key
from clustergrid.pipeline.keyword_files import stored_keywords
from clustergrid.pipeline.meaning_reordered import wrong_levels, wrong_rows
from clustergrid.pipeline.metrics import Metric, get_metric
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, normalized_statistics
from clustergrid.pipeline.oracle import plain_distances
from clustergrid.pipeline.outputs import cluster_lines, stored_linkage
from clustergrid.pipeline.pixels import dense_image
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.pipeline.split_files import SLICES
from clustergrid.pipeline.square import is_precomputed
from clustergrid.pipeline.stored_run import open_stored_stages
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.storage.arrays import open_array
from clustergrid.storage.condensed import CondensedDistances, open_condensed
from clustergrid.storage.errors import ClustergridError, IntegrityError, TileError
from clustergrid.storage.grid import BLOCK_ROWS, READ_BLOCK, slabs
from clustergrid.storage.manifest import chunk_file
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import Damage

__all__ = ["Check", "Meaning", "found_by"]

_SEED = 20_201
_TILES = 8
_ROWS = 32
_MERGES = 32
_LEAVES = 4
_PIXEL_ROWS = 2
_MOST_CELLS = 2**24
_MOST_COVARIED = 2048
_NOT_MONOTONE = ("centroid", "median")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a result has to mean.

    Attributes
    ----------
    name
        For people.
    file, stage
        Which result.
    find
        Yields where it means something else.
    """

    name: str
    file: str
    stage: str
    find: Callable[[], Iterator[Damage]]


def found_by(check: Check, directory: RunDirectory) -> list[Damage]:
    """Make a check; a result that cannot be read is damaged too, and so is a copied matrix.

    Raises
    ------
    IntegrityError
        The input, which the run uses in place, is damaged.
    """
    try:
        return list(check.find())
    except MemoryError:
        raise
    except TileError as error:
        return [_wrong(file=check.file, what=f"cannot be read: {error}", stage=check.stage)]
    except IntegrityError as error:  # the matrix's
        if directory.state["matrix"]["used_in_place"]:
            raise
        return [_wrong(file="matrix.zarr/matrix", what=str(error), stage="matrix")]
    except Exception as error:  # every codec has its own
        return [_wrong(file=check.file, what=f"cannot be read: {error}", stage=check.stage)]


_wrong = partial(Damage, by_meaning=True)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


class Meaning:
    """What the results of a finished run mean, checked in samples.

    Parameters
    ----------
    directory
        The run directory, locked, whose bytes are as they were written.
    progress
        Who is told of what has to be computed.
    """

    def __init__(self, directory: RunDirectory, progress: Progress) -> None:
        self.directory = directory
        self.asked = directory.state["request"]
        self.progress = progress
        self.random = np.random.default_rng(_SEED)
        self._metrics: dict[int, Metric] = {}

    def checks(self) -> Iterator[Check]:
        """Yield what there is to check, of results that belong to the present question.

        Distances of an earlier one are left where the present one asks for none. All else is of
        the present one once a run is finished.
        """
        yield Check(
            name="statistics",
            file="arrays.zarr/statistics_row",
            stage="statistics",
            find=self._statistics,
        )
        for axis, name in enumerate(AXIS_NAMES):
            yield Check(
                name=f"order of {name}",
                file=f"order_{name}.txt",
                stage="outputs",
                find=partial(self._order, axis),
            )
            # Of precomputed ones there is no copy that could differ from the matrix.
            if self._has_distances(axis) and not is_precomputed(self._metric(axis).name):
                yield Check(
                    name=f"distances of {name}{self._left_out(axis)}",
                    file="/".join(self._distance_array(axis)),
                    stage=f"distance-{name}",
                    find=partial(self._distances, axis),
                )
            if f"linkage-{name}" in self.directory.state["stages"]:
                yield Check(
                    name=f"tree of {name}{self._unseen(axis)}",
                    file=f"linkage_{name}.npy",
                    stage=f"linkage-{name}",
                    find=partial(self._tree, axis),
                )
        if "image" in self.directory.state["stages"]:
            yield Check(name="image", file="arrays.zarr/image", stage="image", find=self._image)
        if "reordered" in self.directory.state["stages"]:
            yield Check(
                name="reordered matrix",
                file="reordered.zarr/matrix",
                stage="reordered",
                find=self._reordered,
            )
        if "pyramid" in self.directory.state["stages"]:
            yield Check(
                name="pyramid",
                file="reordered.zarr/pyramid",
                stage="pyramid",
                find=partial(wrong_levels, self.directory, self.random),
            )

    @cached_property
    def stages(self) -> RunStages:
        """The stages of the run, to ask for values and labels."""
        return open_stored_stages(self.directory, self.progress)

    def _has_distances(self, axis: int) -> bool:
        """Whether there are distances of the present metric, type and normalization."""
        stages = self.stages
        key = distance_key(stages.key, axis, self._metric(axis), stages.dtype)
        entry = self.directory.state["stages"].get(f"distance-{AXIS_NAMES[axis]}", {})
        return bool(entry.get("key") == key)

    def _rows(self, axis: int, rows: slice) -> np.ndarray:
        """Return the normalized values of some observations, ``(len(rows), k)`` float64."""
        source, normalization = self.stages.source, self.stages.normalization
        if axis == 1:
            source, normalization = self.stages.transposed_source, normalization.transpose()
        features = slice(0, source.shape[1])
        return normalization.apply(source.read(rows, features), rows, features)

    def _sample(self, n: int, size: int) -> np.ndarray:
        return np.sort(self.random.choice(n, size=min(n, size), replace=False))

    def _window(self, n: int) -> slice:
        """Choose some neighbours: rows far from one another would each take a chunk."""
        start = int(self.random.integers(0, max(1, n - _ROWS + 1)))
        return slice(start, min(n, start + _ROWS))

    def _statistics(self) -> Iterator[Damage]:
        """Compare means and extremes of some rows."""
        stored = self.stages.statistics.rows
        source = self.stages.source
        rows = self._window(source.shape[0])
        values = np.asarray(source.read(rows, slice(0, source.shape[1])), np.float64)
        for row, given in zip(range(rows.start, rows.stop), values, strict=True):
            present = given[~np.isnan(given)]
            is_right = stored.count[row] == present.size and (
                not np.isfinite(present).all()
                or not present.size
                or (
                    stored.minimum[row] == present.min()
                    and stored.maximum[row] == present.max()
                    and abs(stored.mean[row] - present.mean()) <= 1e-9 * np.abs(present).max()
                )
            )
            if not is_right:
                what = f"row {row} of the matrix has other statistics"
                yield _wrong(file="arrays.zarr/statistics_row", what=what, stage="statistics")
                return

    def _linkage(self, axis: int) -> np.ndarray | None:
        return stored_linkage(self.directory, axis, self.stages.shape[axis])

    def _leaves(self, axis: int) -> np.ndarray | None:
        """Return the order of an axis; None where its tree is none, as `_tree` finds."""
        try:
            linkage = self._linkage(axis)
        except ClustergridError:
            return None
        return np.arange(self.stages.shape[axis]) if linkage is None else leaf_order(linkage)

    def _order(self, axis: int) -> Iterator[Damage]:
        """See that the labels are a permutation of the matrix's, in the order of the leaves."""
        name, n = AXIS_NAMES[axis], self.stages.shape[axis]
        file = f"order_{name}.txt"
        labels = [escape_label(label) for label in self.stages.labels(axis, np.arange(n))]
        written = self.directory.file(file).read_text(encoding="utf-8").split("\n")[:-1]
        order = self._leaves(axis)
        if order is None:
            return
        if sorted(written) != sorted(labels):
            yield _wrong(file=file, what="is no permutation of the labels", stage="outputs")
        elif written != [labels[leaf] for leaf in order]:
            yield _wrong(file=file, what="is not the order of the tree", stage="outputs")
        where = self.asked[("row_cut", "column_cut")[axis]]
        linkage = self._linkage(axis)
        if linkage is not None and any(value is not None for value in where.values()):
            file = f"clusters_{name}.tsv"
            expected = cluster_lines(
                self.stages.labels(axis, np.arange(n)), order, cut(linkage, **where)
            )
            if self.directory.file(file).read_text(encoding="utf-8") != expected:
                yield _wrong(file=file, what="is not the cut of the tree", stage="outputs")

    def _distance_array(self, axis: int) -> tuple[str, str]:
        """Zarr group, and name in it, of the distances of an axis."""
        arrays = self.directory.state["stages"][f"distance-{AXIS_NAMES[axis]}"]["arrays"]
        group, tiles = arrays[0]
        return group, tiles.partition("/")[0]

    def _condensed(self, axis: int) -> CondensedDistances:
        group, path = self._distance_array(axis)
        return open_condensed(self.directory.file(group), path)

    def _pairs(self, axis: int) -> Callable[[int, int], float]:
        """Return what gives the distance of two observations."""
        if not is_precomputed(self._metric(axis).name):
            return lambda i, j: float(self._condensed(axis)[i, j])

        def stored(i: int, j: int) -> float:
            i, j = sorted((i, j))  # of two values that differ by a rounding, the upper counts
            value = self.stages.source.read(slice(i, i + 1), slice(j, j + 1))[0, 0]
            return max(0.0, float(value))

        return stored

    def _plain_pairs(self, axis: int) -> Callable[[int, int], float]:
        """Return what computes the distance of two observations from their values."""
        metric = self._whole_metric(axis)

        def computed(i: int, j: int) -> float:
            one, other = (self._rows(axis, slice(row, row + 1)) for row in (i, j))
            return float(plain_distances(metric, one, other)[0, 0])

        return computed

    def _metric(self, axis: int) -> Metric:
        """Return the metric of an axis with the keywords that were asked for."""
        if axis not in self._metrics:
            asked = self.asked[("row", "column")[axis]]
            keywords = stored_keywords(self.directory, axis, asked.get("metric_kws") or {})
            self._metrics[axis] = get_metric(asked["metric"], keywords)
        return self._metrics[axis]

    def _left_out(self, axis: int) -> str:
        """Say, in the name of a check, what is not compared because it would take too long."""
        metric, k = self._metric(axis), self.stages.shape[1 - axis]
        if metric.name == "mahalanobis" and metric.keywords.VI is None and k > _MOST_COVARIED:
            return f" (but no values: the covariance of {k:,} features is not made again)"
        return ""

    def _unseen(self, axis: int) -> str:
        """Say, in the name of a tree's check, if its heights are compared with nothing."""
        return "" if self._has_distances(axis) else self._left_out(axis)

    def _whole_metric(self, axis: int) -> Metric:
        """Return the metric of an axis, with the keywords that follow from the matrix."""
        metric = self._metric(axis)
        if metric.name == "seuclidean" and metric.keywords.V is None:
            columns = self._normalized_statistics(axis).columns
            return get_metric(metric.name, {"V": np.square(columns.standard_deviation)})
        if metric.name == "mahalanobis" and metric.keywords.VI is None:
            return get_metric(metric.name, {"VI": np.linalg.inv(self._covariance(axis))})
        return metric

    def _normalized_statistics(self, axis: int) -> MatrixStatistics:
        stages = self.stages
        found = normalized_statistics(
            stages.source, stages.statistics, stages.normalization, stages.executor, self.progress
        )
        return found.transpose() if axis else found

    def _covariance(self, axis: int) -> np.ndarray:
        """``(k, k)`` covariance of the features of an axis, from blocks of its observations."""
        n, k = self.stages.shape[axis], self.stages.shape[1 - axis]
        mean = self._normalized_statistics(axis).columns.mean
        products = np.zeros((k, k))
        for rows in slabs(n, BLOCK_ROWS):
            centred = self._rows(axis, rows) - mean
            products += centred.T @ centred
        return products / (n - 1)

    def _distances(self, axis: int) -> Iterator[Damage]:
        """Compare pairs from some tiles with SciPy in float64; look at diagonals and symmetry."""
        condensed = self._condensed(axis)
        grid = condensed.grid
        rtol = 1e-4 if condensed.dtype == np.float32 else 1e-7
        is_left_out = bool(self._left_out(axis))
        metric = self._metric(axis) if is_left_out else self._whole_metric(axis)
        for position in self._sample(grid.n_tiles, _TILES):
            i, j = grid.tile(int(position))
            tile = condensed.tile(i, j)
            rows, columns = self._window(tile.shape[0]), self._window(tile.shape[1])
            left = self._rows(axis, _moved(rows, grid.rows(i).start))
            right = self._rows(axis, _moved(columns, grid.rows(j).start))
            found = tile[rows, columns]
            expected = found if is_left_out else plain_distances(metric, left, right)
            if i == j:  # russellrao's of a row and itself is not 0, and no distance of two rows
                itself = np.equal.outer(
                    *(np.arange(each.start, each.stop) for each in (rows, columns))
                )
                expected = np.where(itself, 0.0, expected)
            scale = float(np.abs(expected).max(initial=0.0))
            what = None
            if not np.isfinite(tile).all() or (tile < 0).any():
                what = "holds values that are no distances"
            elif i == j and not (np.array_equal(tile, tile.T) and not tile.diagonal().any()):
                what = "is not symmetric with a diagonal of zeros"
            elif not np.allclose(found, expected, rtol=rtol, atol=rtol * scale):
                whose = "NumPy" if metric.missing else "SciPy"
                what = f"differs from {whose}'s {metric.name} distances of the same rows"
            if what is not None:
                array, chunk = condensed.stored.place(i, j)
                file = f"{self._distance_array(axis)[0]}/{chunk_file(array, chunk)}"
                yield _wrong(file=file, what=what, stage=f"distance-{AXIS_NAMES[axis]}")

    def _tree(self, axis: int) -> Iterator[Damage]:
        """Ask for SciPy's rules of a tree, rising heights, pairs of leaves at their distance."""
        name = AXIS_NAMES[axis]
        stage, file = f"linkage-{name}", f"linkage_{name}.npy"
        try:
            linkage = self._linkage(axis)
        except ClustergridError as error:
            yield _wrong(file=file, what=f"is no tree: {error}", stage=stage)
            return
        assert linkage is not None
        spec = self.asked[("row", "column")[axis]]
        heights = linkage[:, 2]
        if spec["linkage"] is not None:
            return
        if spec["method"] not in _NOT_MONOTONE and (np.diff(heights) < 0).any():
            at = int(np.flatnonzero(np.diff(heights) < 0)[0]) + 1
            yield _wrong(file=file, what=f"merge {at} is lower than the one before it", stage=stage)
        if self.directory.state["stages"][stage].get("made_from") == SLICES:
            return  # leaves of different slices are merged at no distance of theirs
        if self._has_distances(axis):
            distance_of, rtol, atol = self._pairs(axis), 1e-6, 0.0
        elif self._left_out(axis) or is_precomputed(self._metric(axis).name):
            return
        else:
            # Of a tree that was made from the rows.
            distance_of = self._plain_pairs(axis)
            rtol = 1e-4 if self.stages.dtype == "float32" else 1e-7
            atol = rtol * float(np.abs(heights).max())
        n = len(linkage) + 1
        pairs = np.flatnonzero((linkage[:, :2] < n).all(axis=1))
        for merge in pairs[self._sample(len(pairs), _MERGES)]:
            i, j = (int(leaf) for leaf in linkage[merge, :2])
            distance = distance_of(i, j)
            if not np.isclose(heights[merge], distance, rtol=rtol, atol=atol):
                what = (
                    f"merge {merge} joins leaves {i} and {j} at height {heights[merge]:.9g}, and "
                    f"their distance is {distance:.9g}"
                )
                yield _wrong(file=file, what=what, stage=stage)
                return
        if spec["method"] == "single" and not self._has_distances(axis):
            yield from self._nearest(axis, linkage, rtol, atol)

    def _nearest(
        self, axis: int, linkage: np.ndarray, rtol: float, atol: float
    ) -> Iterator[Damage]:
        """Ask for leaves of single linkage to be joined at the distance of the nearest other."""
        name, n = AXIS_NAMES[axis], len(linkage) + 1
        metric = self._whole_metric(axis)
        leaves = self._sample(n, 1 if metric.missing else _LEAVES)
        some = np.concatenate([self._rows(axis, slice(leaf, leaf + 1)) for leaf in leaves])
        nearest = np.full(len(leaves), np.inf)
        for rows in slabs(n, READ_BLOCK):
            distances = plain_distances(metric, some, self._rows(axis, rows))
            distances[np.equal.outer(leaves, np.arange(rows.start, rows.stop))] = np.inf
            nearest = np.minimum(nearest, distances.min(axis=1))
        for leaf, distance in zip(leaves, nearest, strict=True):
            merge = int(np.flatnonzero((linkage[:, :2] == leaf).any(axis=1))[0])
            height = linkage[merge, 2]
            if not np.isclose(height, distance, rtol=rtol, atol=atol):
                what = (
                    f"merge {merge} joins leaf {leaf} at height {height:.9g}, and the nearest "
                    f"other is at distance {distance:.9g}"
                )
                yield _wrong(file=f"linkage_{name}.npy", what=what, stage=f"linkage-{name}")
                return

    def _reordered(self) -> Iterator[Damage]:
        """Compare some rows of the reordered matrix with those of the matrix."""
        row_order, column_order = (self._leaves(axis) for axis in (0, 1))
        if row_order is not None and column_order is not None:
            orders = row_order, column_order
            yield from wrong_rows(self.directory, self.stages, orders, self.random)

    def _image(self) -> Iterator[Damage]:
        """Compare some rows of pixels with what the cells that they cover are together."""
        aggregate = self.directory.state["stages"]["image"].get("aggregate", "mean")
        group = self.directory.arrays
        values, row_edges, column_edges = (
            np.asarray(open_array(group, path)[:])
            for path in ("image", "image_row_edges", "image_column_edges")
        )
        orders = [self._leaves(axis) for axis in (0, 1)]
        if orders[0] is None or orders[1] is None:
            return
        for pixel in map(int, self._sample(len(values), _PIXEL_ROWS)):
            rows = orders[0][row_edges[pixel] : row_edges[pixel + 1]]
            if len(rows) * self.stages.shape[1] > _MOST_CELLS:
                continue  # a pixel of very many rows, that lie anywhere in the matrix
            cells = np.concatenate([self._rows(0, slice(row, row + 1)) for row in map(int, rows)])
            cells = cells[:, orders[1]]
            expected = dense_image(cells, np.array([0, len(cells)]), column_edges, aggregate)[0]
            scale = float(np.nanmax(np.abs(cells), initial=0.0))
            if not np.allclose(
                values[pixel], expected, rtol=1e-7, atol=1e-9 * scale, equal_nan=True
            ):
                what = f"row {pixel} of its pixels is not the {aggregate} of the matrix's cells"
                yield _wrong(file="arrays.zarr/image", what=what, stage="image")
                return
