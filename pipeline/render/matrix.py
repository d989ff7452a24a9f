"""Driver: the matrix behind a picture - a table in memory, or one that is never read whole.

Both kinds answer the same questions, so that nothing else here asks what the data was. Every
computation is the stages'; this module only names, masks and reorders.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.escapes import drawable
from clustergrid.pipeline.image_plan import SMALL_CELLS, check_aggregate
from clustergrid.pipeline.render.tables import (
    format_table,
    index_label,
    is_table,
    mask_values,
    refuse_constant,
)
from clustergrid.pipeline.square import is_precomputed, refuse_normalized
from clustergrid.storage.errors import DataTypeError, DataValueError

if TYPE_CHECKING:
    import xarray as xr

    from clustergrid.pipeline.spec import AxisSpec
    from clustergrid.pipeline.stages import Stages

__all__ = ["DrawnMatrix", "Metric", "StagedMatrix", "TableMatrix", "open_drawn"]


UNNAMED = ("row", "column", "dim_0", "dim_1")
"""What dimensions are called whose labels have no name of their own."""

Metric: TypeAlias = Any
"""A name, or a function of two vectors."""


class _ComputedMatrix:
    """What both kinds of matrix leave to the stages; orders are positions in the data's order."""

    stages: Stages
    shown_mask: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        raise NotImplementedError

    def linkage(self, axis: int, spec: AxisSpec) -> np.ndarray:
        """Compute the tree of the rows (0) or columns (1)."""
        return self.stages.linkage(
            axis,
            method=spec.method,
            metric=spec.metric,
            metric_kws=spec.metric_kws,
            optimal_ordering=spec.optimal_ordering,
            engine=spec.engine,
        )

    def limits(self, robust: bool) -> tuple[float, float]:
        """Least and greatest shown value, or the 2nd and 98th percentiles."""
        return self.stages.limits(robust=robust, mask=self.shown_mask)

    def refuse_image(self, aggregate: str, shape: tuple[int, int]) -> None:
        """Refuse an image that cannot be made, before anything is computed."""
        check_aggregate(aggregate)
        if self.shape[0] * self.shape[1] > SMALL_CELLS:  # of which the memory has to be known
            self.stages.refuse_image(aggregate, shape)

    def pixels(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        edges: tuple[np.ndarray, np.ndarray],
        aggregate: str = "mean",
    ) -> np.ndarray:
        """Aggregate the cells in leaf order, for pixels that begin at given rows and columns."""
        image = self.stages.reduced_image(
            row_order,
            column_order,
            (len(edges[0]) - 1, len(edges[1]) - 1),
            mask=self.shown_mask,
            aggregate=aggregate,
            edges=edges,
        )
        return image.values

    def means(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        edges: tuple[np.ndarray, np.ndarray],
    ) -> np.ndarray:
        """Means of rectangles of cells, of those not shown too; what is missing is left out."""
        shape = len(edges[0]) - 1, len(edges[1]) - 1
        return self.stages.reduced_image(row_order, column_order, shape, edges=edges).values


class TableMatrix(_ComputedMatrix):
    """A table in memory, normalized by pandas as seaborn does it.

    The stages get the normalized table: what is clustered is what is drawn, to the last bit.
    """

    def __init__(
        self,
        data: Any,
        *,
        pivot_kws: dict[str, Any] | None,
        z_score: int | None,
        standard_scale: int | None,
        mask: Any,
        stages: Stages | None,
        options: Mapping[str, Any],
    ) -> None:
        self.source = data if isinstance(data, pd.DataFrame) else _as_frame(data)
        self.normalized = format_table(self.source, pivot_kws, z_score, standard_scale)
        self._is_labelled = isinstance(data, pd.DataFrame | pd.Series)
        self.steps = {"z_score": z_score, "standard_scale": standard_scale}
        self._options = options
        self._are_stages_given = stages is not None
        if stages is not None:
            self.stages = stages
        labels = (self.normalized.index, self.normalized.columns)
        if mask is not None and hasattr(mask, "to_pandas"):  # an xarray.DataArray
            mask = mask.to_pandas() if mask.indexes else mask.to_numpy()
        self.shown_mask = None if mask is None else mask_values(mask, self.shape, labels)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was opened with the options, and of these what ends with this process."""
        kept = dict(self.__dict__)
        if not self._are_stages_given:
            kept.pop("stages", None)
        return kept | {"_options": {**self._options, "client": None, "progress": None}}

    @cached_property
    def stages(self) -> Stages:  # type: ignore[override]
        """The stages on the normalized table, opened when something is to be computed."""
        from clustergrid.pipeline.opening import open_stages

        return open_stages(self.normalized, **self._options)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.normalized.shape

    def index(self, axis: int) -> pd.Index:
        """Labels of the rows (0) or columns (1)."""
        return self.normalized.columns if axis else self.normalized.index

    def axis_label(self, axis: int) -> Hashable:
        """Name of the index, empty where it has none."""
        return index_label(self.index(axis))

    def match_index(self, axis: int) -> pd.Index | None:
        """Labels that Series of colours are matched with; None where the data came without."""
        return self.index(axis) if self._is_labelled else None

    def linkage(self, axis: int, spec: AxisSpec) -> np.ndarray:
        """Compute a tree, refusing what normalizing has made not finite by name."""
        self.refuse_normalization(spec)
        return super().linkage(axis, spec)

    def refuse_normalization(self, spec: AxisSpec) -> None:
        """Refuse to cluster what normalizing has made not finite, or distances no more."""
        if is_precomputed(spec.metric):
            refuse_normalized(**self.steps)
        for name, normalized_axis in self.steps.items():
            if normalized_axis is not None:
                refuse_constant(self.normalized, normalized_axis, name)

    def slices(
        self, axis: int, members: Sequence[np.ndarray], *, both: bool
    ) -> Generator[TableMatrix]:
        """Yield slices of an axis, as they are normalized here, as matrices of their own.

        Parameters
        ----------
        axis
            Rows (0) or columns (1).
        members
            Which of them each slice has.
        both
            Whether slices are cut out of the other axis too, as those of distances are.
        """
        for each in members:
            others = each if both else np.arange(self.shape[1 - axis])
            yield self._selected(*((others, each) if axis else (each, others)))

    def _selected(self, rows: np.ndarray, columns: np.ndarray) -> TableMatrix:
        store = self._options.get("store")
        if store is not None:
            store = f"{store}/part-{array_digest(rows, columns)[:16]}"
        options = {**self._options, "store": store}
        return TableMatrix.of(self.normalized.iloc[rows, columns], options)

    @classmethod
    def of(cls, table: pd.DataFrame, options: Mapping[str, Any]) -> TableMatrix:
        """Return a table that is normalized already; options are those of opening stages."""
        return cls(
            table,
            pivot_kws=None,
            z_score=None,
            standard_scale=None,
            mask=None,
            stages=None,
            options=options,
        )

    def shown_values(self, axis: int, which: np.ndarray) -> np.ndarray:
        """``(m, k)`` float64: values of some rows (0) or columns (1), NaN where not shown."""
        others = np.arange(self.shape[1 - axis])
        orders = (others, which) if axis else (which, others)
        values = self.reordered(*orders).to_numpy(dtype=np.float64, na_value=np.nan)
        return _shown(values, self.reordered_mask(*orders).to_numpy(), axis)

    def cells(self, row_order: np.ndarray, column_order: np.ndarray) -> np.ndarray:
        """Every cell in leaf order, masked where nothing is shown; for matrices that are small."""
        table = self.reordered(row_order, column_order)
        values = table.to_numpy()
        if values.dtype == object:  # nullable integers, say
            values = table.to_numpy(dtype=np.float64, na_value=np.nan)
        mask = self.reordered_mask(row_order, column_order).to_numpy()
        masked: np.ndarray = np.ma.masked_where(mask, values)
        return masked

    def reordered(self, row_order: np.ndarray, column_order: np.ndarray) -> pd.DataFrame:
        """Return the normalized matrix in leaf order."""
        table: pd.DataFrame = self.normalized.iloc[row_order, column_order]
        return table

    def reordered_mask(self, row_order: np.ndarray, column_order: np.ndarray) -> pd.DataFrame:
        """Return the mask in leaf order, missing cells included."""
        missing = self.reordered(row_order, column_order).isna()
        if self.shown_mask is None:
            return missing
        masked: pd.DataFrame = missing | self.shown_mask[np.ix_(row_order, column_order)]
        return masked


def _shown(values: np.ndarray, mask: np.ndarray | None, axis: int) -> np.ndarray:
    """Take out infinities and what is masked; turn columns into rows."""
    is_shown = np.isfinite(values) if mask is None else np.isfinite(values) & ~mask
    shown: np.ndarray = np.where(is_shown, values, np.nan)
    return shown.T if axis else shown


def _as_frame(data: Any) -> pd.DataFrame:
    if isinstance(data, np.ndarray) and data.ndim != 2:
        raise DataValueError(
            f"data must have rows and columns, got an array of {data.ndim} axes. Of condensed "
            "distances give scipy.spatial.distance.squareform(data)"
        )
    if isinstance(data, list | tuple):  # pandas would fill up what is missing
        lengths = {len(row) for row in data if isinstance(row, list | tuple | np.ndarray)}
        if len(lengths) > 1:
            raise DataTypeError(
                f"the rows have different lengths: some have {min(lengths)}, and no column "
                f"{min(lengths)}, and others {max(lengths)}"
            )
    return pd.DataFrame(data)


def _lazy(mask: Any) -> Any:
    """Let Dask read an array in chunks when they are needed; xarray would read all of it."""
    import dask.array

    if isinstance(mask, dask.array.Array):
        return mask
    return dask.array.from_array(mask, chunks=mask.chunks or "auto")


class StagedMatrix(_ComputedMatrix):
    """A matrix that only the stages read; nothing here holds more of it than the picture shows."""

    def __init__(self, stages: Stages, mask: Any) -> None:
        self.stages = stages
        self.source: xr.DataArray = stages.matrix
        self.shown_mask = None if mask is None else self._aligned(mask)

    def _aligned(self, mask: Any) -> Any:
        """Bring a mask into the matrix's order; a DataArray stays lazy."""
        if hasattr(mask, "chunks") and not hasattr(mask, "dims"):  # a Dask array, a Zarr array
            self._refuse_shape(mask)
            mask = self.source.copy(data=_lazy(mask))
        if not hasattr(mask, "dims"):
            return mask_values(mask, self.shape, (self.index(0), self.index(1)))
        dims = self.source.dims
        if set(mask.dims) != set(dims):
            raise DataValueError(
                f"Mask must have the same shape as data: its dimensions are {tuple(mask.dims)}, "
                f"those of data {dims}."
            )
        mask = mask.transpose(*dims)
        for axis, dim in enumerate(dims):
            if dim not in mask.indexes or dim not in self.source.indexes:
                continue
            labels = self.index(axis)
            if mask.indexes[dim].equals(labels):
                continue
            if not (mask.indexes[dim].is_unique and labels.isin(mask.indexes[dim]).all()):
                raise DataValueError(
                    "Mask must have the same index and columns as data. Labels of data are "
                    f"missing from the mask, or repeated in it, along {dim!r}."
                )
            mask = mask.sel({dim: labels})
        self._refuse_shape(mask)
        return mask if mask.dtype == bool else mask.astype(bool)

    def _refuse_shape(self, mask: Any) -> None:
        if mask.shape != self.shape:
            raise DataValueError(
                f"Mask must have the same shape as data. The mask is {mask.shape}, "
                f"data {self.shape}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.stages.shape

    @property
    def normalized(self) -> xr.DataArray:
        """The matrix that is clustered and drawn, in the data's order; lazy."""
        rows, columns = self.shape
        return self.reordered(np.arange(rows), np.arange(columns))

    def index(self, axis: int) -> pd.Index:
        """Labels of the rows (0) or columns (1)."""
        return self.source.get_index(self.source.dims[axis])

    def axis_label(self, axis: int) -> Hashable:
        """Name of the dimension, empty where it has no labels."""
        dim = self.source.dims[axis]
        return drawable(str(dim)) if dim in self.source.indexes and dim not in UNNAMED else ""

    def match_index(self, axis: int) -> pd.Index | None:
        """Labels that Series of colours are matched with; None where the data came without."""
        return self.index(axis) if self.source.dims[axis] in self.source.indexes else None

    def refuse_normalization(self, spec: AxisSpec) -> None:
        """Refuse nothing: the stages do, with the labels of what is not finite."""

    def slices(
        self, axis: int, members: Sequence[np.ndarray], *, both: bool
    ) -> Generator[StagedMatrix]:
        """As of a table; a lazy matrix is read once, however many slices there are."""
        from clustergrid.pipeline.selection import slices_of

        with closing(slices_of(self.stages, axis, members, both=both)) as parts:
            for part in parts:
                yield StagedMatrix(part, None)

    def shown_values(self, axis: int, which: np.ndarray) -> np.ndarray:
        """``(m, k)`` float64: values of some rows (0) or columns (1), NaN where not shown."""
        index = {self.source.dims[axis]: which}
        values = np.asarray(self.normalized.isel(index).to_numpy(), dtype=np.float64)
        mask = self.shown_mask
        if mask is not None:
            mask = np.asarray(
                np.take(mask, which, axis) if isinstance(mask, np.ndarray) else mask.isel(index)
            )
        return _shown(values, mask, axis)

    def cells(self, row_order: np.ndarray, column_order: np.ndarray) -> np.ndarray:
        """Every cell in leaf order, masked where nothing is shown; for matrices that are small."""
        rows, columns = self.shape
        edges = np.arange(rows + 1), np.arange(columns + 1)
        masked: np.ndarray = np.ma.masked_invalid(self.pixels(row_order, column_order, edges))
        return masked

    def reordered(self, row_order: np.ndarray, column_order: np.ndarray) -> xr.DataArray:
        """Return the normalized matrix in leaf order, lazily."""
        return self.stages.reordered(row_order, column_order)

    def reordered_mask(self, row_order: np.ndarray, column_order: np.ndarray) -> Any:
        """Return the mask in leaf order; None without one."""
        if self.shown_mask is None:
            return None
        if isinstance(self.shown_mask, np.ndarray):
            return self.shown_mask[np.ix_(row_order, column_order)]
        rows, columns = self.source.dims
        return self.shown_mask.isel({rows: row_order, columns: column_order})


DrawnMatrix: TypeAlias = TableMatrix | StagedMatrix


def open_drawn(
    data: Any,
    *,
    pivot_kws: dict[str, Any] | None,
    z_score: int | None,
    standard_scale: int | None,
    mask: Any,
    stages: Stages | None,
    options: Mapping[str, Any],
) -> DrawnMatrix:
    """Choose how a matrix is held.

    Parameters
    ----------
    data
        What the user gave.
    pivot_kws, z_score, standard_scale, mask
        As in `clustermap`.
    stages
        Stages that are open already; their matrix is normalized.
    options
        ``dtype``, ``memory``, ``store``, ``client`` and ``progress``, for opening stages.
    """
    if is_table(data):
        return TableMatrix(
            data,
            pivot_kws=pivot_kws,
            z_score=z_score,
            standard_scale=standard_scale,
            mask=mask,
            stages=stages,
            options=options,
        )
    if stages is None:
        from clustergrid.pipeline.opening import open_stages

        stages = open_stages(
            data, pivot_kws=pivot_kws, z_score=z_score, standard_scale=standard_scale, **options
        )
    return StagedMatrix(stages, mask)
