"""Plan: how the pass to pixels is cut - blocks, bands of rows, groups of bands - and its memory.

Values are added up block by block within a band, band by band within a group, and group by group.
All of them follow from the shapes of the matrix and of the image, so the image has the same bits
whatever the chunks, the executor and the number of workers. Only what is read at once follows from
the chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import round_up, slabs

__all__ = [
    "AGGREGATES",
    "EXACT_CELLS",
    "PLANNED_MEDIAN_READS",
    "ROW_BLOCK",
    "SMALL_CELLS",
    "ImageWork",
    "MedianWork",
    "check_aggregate",
    "column_blocks",
]

AGGREGATES = ("mean", "max_abs", "min", "max", "median")
"""What a pixel may show of its cells: the value of largest magnitude keeps its sign."""

ROW_BLOCK = 512
"""Rows of a block. Means depend on this number in their last bits: it is fixed."""

_COLUMN_BLOCK = 8192
"""Columns of a block. Fixed for the same reason."""

SMALL_CELLS = 2**18
"""Of a matrix that one task reduces as a whole, without compiled code."""

EXACT_CELLS = 2**21
"""Of a matrix whose percentiles are NumPy's, of all values at once."""

_CELLS_A_PIXEL = 16
"""Of a band, at least: putting partial images together is a small part of the work then."""
_MOST_BANDS = 256

_READ_CELLS = 2**22
_READ_BYTES = 2**26

_MOST_MEDIAN_READS = 16
"""Every band of medians reads the whole matrix."""

PLANNED_MEDIAN_READS = 8
"""The most that a plan counts on. The image may have other pixels than it takes for granted, of
whose rows one more or less goes into a band: with twice as many bands, each is smaller anyway."""

_PIXEL_BYTES = {"mean": 12, "median": 8}
_OTHER_PIXEL_BYTES = 8


def check_aggregate(aggregate: str) -> None:
    """Refuse an aggregate that there is not.

    Raises
    ------
    DataValueError
        A ValueError that names those that there are.
    """
    if aggregate not in AGGREGATES:
        raise DataValueError(f"aggregate must be one of {', '.join(AGGREGATES)}, got {aggregate!r}")


def column_blocks(n_columns: int) -> list[slice]:
    """Columns of the blocks, from the first on.

    Examples
    --------
    >>> [(block.start, block.stop) for block in column_blocks(10_000)]
    [(0, 8192), (8192, 10000)]
    """
    return list(slabs(n_columns, _COLUMN_BLOCK))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWork:
    """A pass over the matrix that makes an image of it.

    Attributes
    ----------
    shape
        Rows and columns of the matrix.
    pixels
        Rows and columns of the image.
    aggregate
        One of `AGGREGATES`.

    Examples
    --------
    >>> work = ImageWork(shape=(100_000, 5_000), pixels=(2_000, 1_000))
    >>> work.band_rows, work.n_bands, [len(group) for group in work.groups]
    (7168, 14, [4, 4, 4, 2])
    >>> ImageWork(shape=(10_000, 1_000), pixels=(1155, 1000)).n_bands
    1
    """

    shape: tuple[int, int]
    pixels: tuple[int, int]
    aggregate: str = "mean"

    @property
    def is_small(self) -> bool:
        """Whether one task makes it in a moment."""
        return self.shape[0] * self.shape[1] <= SMALL_CELLS

    @property
    def image_bytes(self) -> int:
        """Of a partial image."""
        each = _PIXEL_BYTES.get(self.aggregate, _OTHER_PIXEL_BYTES)
        return self.pixels[0] * self.pixels[1] * each

    @property
    def band_rows(self) -> int:
        """Rows of the matrix that one task takes into one image."""
        n, k = self.shape
        wanted = n * k // (_CELLS_A_PIXEL * self.pixels[0] * self.pixels[1])
        return round_up(-(-n // max(1, min(wanted, _MOST_BANDS))), ROW_BLOCK)

    @property
    def n_bands(self) -> int:
        """How many tasks there are."""
        return -(-self.shape[0] // self.band_rows)

    @property
    def bands_a_group(self) -> int:
        """Bands whose images are put together before they come to the driver."""
        return isqrt(self.n_bands - 1) + 1 if self.n_bands > 1 else 1

    @property
    def groups(self) -> list[list[slice]]:
        """Rows of the bands, group by group."""
        bands = list(slabs(self.shape[0], self.band_rows))
        return [bands[part] for part in slabs(len(bands), self.bands_a_group)]

    def read_at_once(self, chunks: tuple[int, int], itemsize: int) -> tuple[int, int]:
        """Rows and columns that are read at once: whole rows, unless these are very long.

        Examples
        --------
        >>> work = ImageWork(shape=(100_000, 5_000), pixels=(2_000, 1_000))
        >>> work.read_at_once((512, 5_000), 4), work.read_at_once((8704, 5_000), 4)
        ((512, 5000), (3072, 5000))
        >>> ImageWork(shape=(28_057, 115), pixels=(500, 115)).read_at_once((8704, 115), 8)
        (34816, 115)
        """
        n, k = self.shape
        height = round_up(min(chunks[0], n), ROW_BLOCK)
        fit = _READ_BYTES // (k * itemsize) // ROW_BLOCK * ROW_BLOCK
        if not fit:
            return ROW_BLOCK, round_up(min(chunks[1], k), _COLUMN_BLOCK)
        if height > fit:
            # Parts of a chunk, each of which decodes it.
            return round_up(-(-height // -(-height // fit)), ROW_BLOCK), k
        return max(1, _READ_CELLS // (height * k)) * height, k

    def groups_under_way(self, threads: int) -> int:
        """Count the groups whose bands may be worked on at once."""
        return min(len(self.groups), 1 + -(-2 * threads // self.bands_a_group))

    def images_in_process(self, threads: int) -> int:
        """Count the images that are there at once, where tasks share the driver's process.

        Those of bands that are worked on or wait for their turn, of groups that are not whole or
        wait for theirs, and the one that comes of them.
        """
        return min(2 * threads, self.n_bands) + 2 * self.groups_under_way(threads) + 1

    def images_of_driver(self, threads: int) -> int:
        """Count the images that the driver holds, of groups that workers put together."""
        return 2 + self.groups_under_way(threads)

    def images_of_worker(self, threads: int, threads_per_worker: int) -> int:
        """Count the images on a worker: made, waiting for the others of their group, and merged."""
        under_way = self.groups_under_way(threads) * self.bands_a_group
        of_thread = 1 + -(-under_way // threads)
        most = under_way + self.groups_under_way(threads) + 1
        return min(threads_per_worker * of_thread + self.bands_a_group + 1, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianWork:
    """A pass that holds all cells of some rows of pixels at once, in every task.

    Attributes
    ----------
    shape, pixels
        As in `ImageWork`.
    cell_bytes
        Of a cell that is held: 4 where values are float32 and not normalized, else 8.
    task_bytes
        What the cells that a task holds may take.
    threads
        Tasks that run at once.
    most_reads
        How often the matrix may be read, a band of rows of pixels at a time.
    """

    shape: tuple[int, int]
    pixels: tuple[int, int]
    cell_bytes: int
    task_bytes: int
    threads: int
    most_reads: int = _MOST_MEDIAN_READS

    @property
    def pixel_row_bytes(self) -> int:
        """Of the cells of a row of pixels."""
        return -(-self.shape[0] // self.pixels[0]) * self.shape[1] * self.cell_bytes

    @property
    def bands(self) -> list[slice]:
        """Rows of pixels, band by band, whether they fit or not; each reads the matrix once.

        Examples
        --------
        >>> work = MedianWork(
        ...     shape=(1000, 10), pixels=(100, 10), cell_bytes=8, task_bytes=20_000, threads=2
        ... )
        >>> [(band.start, band.stop) for band in work.bands]
        [(0, 25), (25, 50), (50, 75), (75, 100)]
        """
        fit = self.task_bytes // self.pixel_row_bytes
        shared = -(-self.pixels[0] // min(self.threads, PLANNED_MEDIAN_READS))
        return list(slabs(self.pixels[0], max(self._least_rows, min(fit, shared))))

    @property
    def _least_rows(self) -> int:
        """Rows of pixels in a band, of as many bands as there may be."""
        return -(-self.pixels[0] // self.most_reads)

    @property
    def held_bytes(self) -> int:
        """Of the cells that one task holds."""
        band = self.bands[0]
        return int(band.stop - band.start) * self.pixel_row_bytes

    def check(self) -> None:
        """Refuse medians whose cells do not fit.

        Raises
        ------
        MemoryLimitError
            A MemoryError that says how much they take, and how much there is.
        """
        needed = self._least_rows * self.pixel_row_bytes
        if needed > self.task_bytes:
            cells = self.shape[0] * self.shape[1] * self.cell_bytes
            raise MemoryLimitError(
                f"aggregate='median' holds the cells of its pixels, {format_bytes(cells)} of "
                f"{self.shape[0]:,} x {self.shape[1]:,} values, in at most {self.most_reads} "
                f"parts of {format_bytes(needed)}, and a task has {format_bytes(self.task_bytes)}: "
                "give it more memory, or use aggregate='mean' or 'max_abs', which hold an image",
                needed_bytes=needed,
                limit_bytes=self.task_bytes,
            )
