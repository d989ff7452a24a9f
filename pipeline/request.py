"""Plan: all that a run was asked for, validated before anything is opened or run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.clusters.choice import CLUSTERS, ClusterChoice
from clustergrid.pipeline.image_plan import check_aggregate
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec, check_normalization
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from clustergrid.storage.places import StorePath

__all__ = ["CLUSTERS", "FORMATS", "TRACKS", "ClusterChoice", "Cut", "FigureOptions", "RunRequest"]

FORMATS = ("png", "pdf", "svg")

TRACKS = ("bars", "points")
"""What numbers of a table of annotations may be drawn as, besides strips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a tree is cut into clusters: into `k` of them, or at a height.

    Examples
    --------
    >>> bool(Cut()), bool(Cut(height=0.0))
    (False, True)
    """

    k: int | None = None
    height: float | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.height is not None:
            raise DataValueError("cut by a number of clusters or at a height, not both")
        if self.height is not None and not math.isfinite(self.height):
            raise DataValueError(f"a tree is cut at a finite height, got {self.height}")

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
        Keywords of the heatmap: cmap, vmin, vmax, center, robust, aggregate, xticklabels, ...
    cbar_label
        Written beside the colour bar.
    legends
        Legends of the strips by their titles (empty: none): colours by what they mean.
    palettes
        Of annotations by their titles: the name of a colormap, or colours by what they stand for.
    tracks
        Annotations that are no strips, by their titles: of `TRACKS`.
    """

    figsize_inches: tuple[float, float] = (10.0, 10.0)
    dpi: int = 150
    formats: tuple[str, ...] = ("png",)
    heatmap: dict[str, Any] = field(default_factory=dict)
    cbar_label: str | None = None
    legends: dict[str, dict[str, str]] = field(default_factory=dict)
    palettes: dict[str, str | dict[str, str]] = field(default_factory=dict)
    tracks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.formats) - set(FORMATS)
        if unknown or not self.formats:
            raise DataValueError(f"formats are png, pdf and svg, got {', '.join(self.formats)}")
        if not all(math.isfinite(size) and size > 0 for size in self.figsize_inches):
            width, height = self.figsize_inches
            raise DataValueError(f"a figure is some inches wide and high, got {width} x {height}")
        limits = {name: self.heatmap.get(name) for name in ("vmin", "vmax", "center")}
        for name, value in limits.items():
            if value is not None and not math.isfinite(value):
                raise DataValueError(f"{name} must be a finite number, got {value}")
        low, high = limits["vmin"], limits["vmax"]
        if low is not None and high is not None and low >= high:
            raise DataValueError(f"vmin must be below vmax, got {low} and {high}")
        check_aggregate(self.aggregate)
        if odd := [kind for kind in self.tracks.values() if kind not in TRACKS]:
            raise DataValueError(f"a track is one of {', '.join(TRACKS)}, got {odd[0]!r}")

    def cuts(self, axis: int) -> list[int]:
        """Into how many clusters the picture cuts the tree of the rows (0) or columns (1).

        Examples
        --------
        >>> FigureOptions(heatmap={"row_split": 3, "row_tree_style": {"k": 5}}).cuts(0)
        [3, 5]
        """
        name = AXIS_NAMES[axis]
        split = self.heatmap.get(f"{name}_split")
        colored = self.heatmap.get(f"{name}_tree_style", {}).get("k")
        return [k for k in (split, colored) if k is not None]

    @property
    def aggregate(self) -> str:
        """What a pixel shows of its cells."""
        return str(self.heatmap.get("aggregate", "mean"))


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
        How the axes are clustered; their dtype is that of `dtype`.
    metric_files
        Absolute paths of the files that keywords of their metrics were read from, by axis
        (``"row"``, ``"col"``) and keyword.
    row_cut, column_cut
        Where their trees are cut.
    z_score, standard_scale, dtype, layer
        As in `clustermap` and `open_matrix`.
    row_colors, col_colors
        Tables of colours (TSV or CSV: labels, then a column a strip), copied into the run.
    row_annotations, col_annotations
        Tables of annotations (labels, then a column a strip: numbers, true and false, ISO dates, or
        words), copied into the run.
    row_split, col_split
        Tables of categories (labels, then a column), copied into the run: each category becomes a
        slice with a tree of its own.
    figure
        How the picture is drawn.
    memory_bytes
        What the run may use on this machine; None: most of what is free.
    cluster
        Where tasks run.
    reordered, pyramid
        Whether the matrix is also written in clustered order, and levels of lower resolution.
    """

    input: str
    directory: StorePath
    row: AxisSpec = field(default_factory=AxisSpec)
    column: AxisSpec = field(default_factory=AxisSpec)
    metric_files: dict[str, dict[str, str]] = field(default_factory=dict)
    row_cut: Cut = field(default_factory=Cut)
    column_cut: Cut = field(default_factory=Cut)
    z_score: int | None = None
    standard_scale: int | None = None
    dtype: str | None = None
    layer: str | None = None
    row_colors: str | None = None
    col_colors: str | None = None
    row_annotations: str | None = None
    col_annotations: str | None = None
    row_split: str | None = None
    col_split: str | None = None
    figure: FigureOptions = field(default_factory=FigureOptions)
    memory_bytes: int | None = None
    cluster: ClusterChoice = field(default_factory=ClusterChoice)
    reordered: bool = False
    pyramid: bool = False

    def __post_init__(self) -> None:
        check_normalization(self.z_score, self.standard_scale)
        for name, axis in (("row", 0), ("column", 1)):
            spec = self.axis(axis)
            if self.split(axis) and not spec.is_computed:
                raise DataValueError(
                    f"the {name}s are split by a table, whose categories are clustered one by one: "
                    "they take no other tree, and have to be clustered"
                )
            if spec.cluster:
                continue
            if self.cut(axis) or self.figure.cuts(axis):
                raise DataValueError(f"the {name}s are not clustered: there is no tree to cut")
            if spec.linkage is not None:
                raise DataValueError(f"the {name}s are not clustered: they have no use for a tree")

    def axis(self, axis: int) -> AxisSpec:
        """How the rows (0) or the columns (1) are clustered."""
        return self.column if axis else self.row

    def cut(self, axis: int) -> Cut:
        """Where the tree of the rows (0) or of the columns (1) is cut."""
        return self.column_cut if axis else self.row_cut

    def split(self, axis: int) -> str | None:
        """Table of categories of the rows (0) or of the columns (1)."""
        return self.col_split if axis else self.row_split

    def to_json(self) -> dict[str, Any]:
        """Return what was asked as plain values, of arrays a digest."""
        asked = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("row_cut", "column_cut", "figure", "cluster"):
            asked[name] = asdict(asked[name])
        axes = {"row": self.row.to_json(), "column": self.column.to_json()}
        return asked | axes | {"directory": str(self.directory)}

    def spec(self, dtype: str) -> RunSpec:
        """Take what decides results, with the type of the distances."""
        return RunSpec(
            row=replace(self.row, dtype=dtype),
            column=replace(self.column, dtype=dtype),
            z_score=self.z_score,
            standard_scale=self.standard_scale,
        )
