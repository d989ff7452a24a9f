"""Kernel: sums over pairs of compressed sparse rows, of which no zero is looked at.

Rows are compressed as `scipy.sparse.csr_array` compresses them: row ``i`` stores the values
``data[e]`` of the features ``indices[e]`` for ``indptr[i] <= e < indptr[i + 1]``, features in
increasing order and each once. There are two ways to the products of a block of pairs::

    columns   the right rows compressed by columns: a stored value of a left row meets the stored
              values of its feature, and nothing else. Work: common entries of all pairs.
    panels    the right rows dense and transposed, a few at a time, within a processor's cache: a
              stored value of a left row is multiplied with all of them at once. Work: stored
              entries of the left rows times right rows, in vector registers.

Both add the features of a pair in their order, in float64, and the second adds zeros besides: they
agree to the bit, so whichever is faster for a block may be taken. A block of pairs is finished into
its place in a tile, from row ``top`` and column ``first`` on.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = [
    "PANEL_ROWS",
    "add_half_each",
    "add_low_rank",
    "add_panel_products",
    "add_products",
    "by_columns",
    "count_common_entries",
    "cut_rows",
    "fill_panels",
    "finish_euclidean",
    "finish_unit",
    "pack_entries",
    "recompute_differences",
    "row_terms",
]

PANEL_ROWS = 64
"""Right rows of one panel: they fill the vector registers several times over."""


@jit
def by_columns(
    data: np.ndarray,
    indices: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    first: int,
    n_columns: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Compress entries of at most 65,536 rows by columns: ``(indptr, rows, values)``.

    Row ``i`` has the entries from ``starts[i]`` to ``stops[i]``, of columns from ``first`` on.
    Rows are in increasing order, and two bytes each: they are read most.
    """
    pointers = np.zeros(n_columns + 1, np.int64)
    for i in range(starts.shape[0]):
        for e in range(starts[i], stops[i]):
            pointers[indices[e] - first + 1] += 1
    for f in range(n_columns):
        pointers[f + 1] += pointers[f]
    rows = np.empty(pointers[n_columns], np.uint16)
    values = np.empty(pointers[n_columns], data.dtype)
    place = pointers[:-1].copy()
    for i in range(starts.shape[0]):
        for e in range(starts[i], stops[i]):
            f = indices[e] - first
            at = place[f]
            place[f] = at + 1
            rows[at] = i
            values[at] = data[e]
    return pointers, rows, values


@jit
def add_products(
    data: np.ndarray,
    indices: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    first: int,
    pointers: np.ndarray,
    rows: np.ndarray,
    values: np.ndarray,
    accumulator: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add the products of left rows (by rows) with right rows (by columns)."""
    for i in range(starts.shape[0]):
        row = accumulator[i]
        for e in range(starts[i], stops[i]):
            x = data[e]
            f = indices[e] - first
            for c in range(pointers[f], pointers[f + 1]):
                row[rows[c]] += x * values[c]


@jit
def count_common_entries(
    indices: np.ndarray,
    indptr: np.ndarray,
    pointers: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Count the features that left rows (by rows) and right rows (by columns) both store."""
    for i in range(indptr.shape[0] - 1):
        row = counts[i]
        for e in range(indptr[i], indptr[i + 1]):
            f = indices[e]
            for c in range(pointers[f], pointers[f + 1]):
                row[rows[c]] += 1


@jit
def add_half_each(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    pointers: np.ndarray,
    rows: np.ndarray,
    values: np.ndarray,
    accumulator: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add a half for every feature that both rows store, and another one if the values are equal.

    Of two rows with ``l`` and ``r`` entries, ``(l - sum) + (r - sum)`` differ then.
    """
    for i in range(indptr.shape[0] - 1):
        row = accumulator[i]
        for e in range(indptr[i], indptr[i + 1]):
            x = data[e]
            f = indices[e]
            for c in range(pointers[f], pointers[f + 1]):
                row[rows[c]] += 1.0 if x == values[c] else 0.5


@jit
def pack_entries(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    first: int,
    last: int,
) -> np.ndarray:  # pragma: no cover - compiled
    """Pack the truth of some features into words, as `_bits.pack` packs dense rows.

    Parameters
    ----------
    data, indices, indptr
        Rows; zeros among the values are not true.
    first, last
        Features ``first <= f < last``.

    Returns
    -------
    numpy.ndarray
        ``(n, ceil((last - first) / 64))`` uint64.
    """
    packed = np.zeros((indptr.shape[0] - 1, (last - first + 63) // 64), np.uint64)
    for i in range(indptr.shape[0] - 1):
        words = packed[i]
        for e in range(indptr[i], indptr[i + 1]):
            f = indices[e] - first
            if 0 <= f < last - first and data[e] != 0:
                words[f >> 6] |= np.uint64(1) << np.uint64(f & 63)
    return packed


@jit
def cut_rows(
    indices: np.ndarray, indptr: np.ndarray, edges: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """Where the entries of each block of features begin and end, ``(blocks + 1, n)``."""
    cuts = np.empty((edges.shape[0], indptr.shape[0] - 1), np.int64)
    for i in range(indptr.shape[0] - 1):
        e = indptr[i]
        for b in range(edges.shape[0]):
            while e < indptr[i + 1] and indices[e] < edges[b]:
                e += 1
            cuts[b, i] = e
    return cuts


@jit
def fill_panels(
    data: np.ndarray,
    indices: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    first: int,
    panels: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Make right rows dense: ``panels[p, f, c]`` is row ``64 p + c`` at feature ``first + f``."""
    panels[:] = 0.0
    for j in range(starts.shape[0]):
        panel, c = panels[j // 64], j % 64
        for e in range(starts[j], stops[j]):
            panel[indices[e] - first, c] = data[e]


@jit
def add_panel_products(
    data: np.ndarray,
    indices: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    first: int,
    panels: np.ndarray,
    accumulator: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add the products of left rows with panels, over one block of features.

    ``accumulator`` is ``(n, panels, 64)``. Four entries at a time, one after another, so that it
    is read and written once for the four.
    """
    for p in range(panels.shape[0]):
        panel = panels[p]
        for i in range(starts.shape[0]):
            row = accumulator[i, p]
            stop = stops[i]
            whole = starts[i] + (stop - starts[i]) // 4 * 4
            for e in range(starts[i], whole, 4):
                w, x, y, z = data[e], data[e + 1], data[e + 2], data[e + 3]
                a = panel[indices[e] - first]
                b = panel[indices[e + 1] - first]
                c = panel[indices[e + 2] - first]
                d = panel[indices[e + 3] - first]
                for j in range(64):
                    row[j] = (((row[j] + w * a[j]) + x * b[j]) + y * c[j]) + z * d[j]
            for e in range(whole, stop):
                x = data[e]
                feature = panel[indices[e] - first]
                for j in range(64):
                    row[j] += x * feature[j]


@jit
def add_low_rank(
    left: np.ndarray, right: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``left @ right``, ``(n, r)`` by ``(r, m)``, a term after another."""
    for i in range(left.shape[0]):
        row = accumulator[i]
        for r in range(left.shape[1]):
            x = left[i, r]
            factor = right[r]
            for j in range(factor.shape[0]):
                row[j] += x * factor[j]


@jit
def finish_euclidean(
    products: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    root: bool,
    flagged: np.ndarray,
    distances: np.ndarray,
    top: int,
    first: int,
) -> None:  # pragma: no cover - compiled
    """Make distances of products.

    ``left`` and ``right`` are ``(2, rows)``: squared lengths, and below which squared distance
    digits were lost; of a pair, the sum of both. Such pairs are flagged.
    """
    for i in range(left.shape[1]):
        length, bound = left[0, i], left[1, i]
        lengths, bounds = right[0], right[1]
        row, flags, out = products[i], flagged[i], distances[top + i]
        if root:
            for j in range(right.shape[1]):
                squared = (length + lengths[j]) - 2.0 * row[j]
                flags[j] = squared <= bound + bounds[j]
                out[first + j] = np.sqrt(max(squared, 0.0))
        else:
            for j in range(right.shape[1]):
                squared = (length + lengths[j]) - 2.0 * row[j]
                flags[j] = squared <= bound + bounds[j]
                out[first + j] = max(squared, 0.0)


@jit
def finish_unit(
    products: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    flagged: np.ndarray,
    distances: np.ndarray,
    top: int,
    first: int,
) -> None:  # pragma: no cover - compiled
    """Make one minus the cosine of products.

    ``left`` and ``right`` are ``(2, rows)``: one over the length, and below which distance digits
    were lost; of a pair, the product of both. Such pairs are flagged.
    """
    for i in range(left.shape[1]):
        length, bound = left[0, i], left[1, i]
        lengths, bounds = right[0], right[1]
        row, flags, out = products[i], flagged[i], distances[top + i]
        for j in range(right.shape[1]):
            distance = 1.0 - (row[j] * length) * lengths[j]
            flags[j] = distance <= bound * bounds[j]
            out[first + j] = min(max(distance, 0.0), 2.0)


@jit
def row_terms(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    n_features: int,
    shifts: np.ndarray,
    background: np.ndarray,
    centred: bool,
    terms: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Sum over each row what products of centred rows need, ``(n, 5)``.

    They are the shift, the sum of the stored values, that of their products with the background,
    the squared length of the row less shift and background, and the squared length of what is
    stored. The background is empty where there is none. If ``centred``, the shift is the mean of
    the row less its background, instead of the one that is given.
    """
    has_background = background.shape[0] > 0
    background_sum = background.sum()
    background_squares = (background * background).sum()
    for i in range(indptr.shape[0] - 1):
        start, stop = indptr[i], indptr[i + 1]
        total, product, squares = 0.0, 0.0, 0.0
        low, high = np.inf, -np.inf
        for e in range(start, stop):
            x = data[e]
            total += x
            squares += x * x
            low, high = min(low, x), max(high, x)
            if has_background:
                product += x * background[indices[e]]
        n_zeros = n_features - (stop - start)
        shift = shifts[i]
        if centred:
            shift = (total - background_sum) / n_features
            if not has_background:
                if n_zeros > 0:
                    low, high = min(low, 0.0), max(high, 0.0)
                # Else the mean of equal values would differ from them by a rounding.
                shift = low if low == high else shift
        length = 0.0
        if has_background:
            covered = 0.0
            for e in range(start, stop):
                x = shift + background[indices[e]]
                covered += x * x
                length += (data[e] - x) * (data[e] - x)
            whole = n_features * shift * shift + 2.0 * shift * background_sum + background_squares
            if n_zeros > 0:
                length += max(whole - covered, 0.0)
            if length <= 1e-3 * (squares + whole):
                length = _exact_length(data, indices, start, stop, shift, background, centred)
        else:
            for e in range(start, stop):
                length += (data[e] - shift) * (data[e] - shift)
            length += n_zeros * shift * shift
        terms[i, 0], terms[i, 1], terms[i, 2] = shift, total, product
        terms[i, 3], terms[i, 4] = length, squares


@jit
def _exact_length(
    data: np.ndarray,
    indices: np.ndarray,
    start: int,
    stop: int,
    shift: float,
    background: np.ndarray,
    centred: bool,
) -> float:  # pragma: no cover - compiled
    """Squared length of a row of which little is left, feature by feature; 0 if it is constant."""
    length, e = 0.0, start
    low, high = np.inf, -np.inf
    for f in range(background.shape[0]):
        x = -background[f]
        if e < stop and indices[e] == f:
            x += data[e]
            e += 1
        low, high = min(low, x), max(high, x)
        length += (x - shift) * (x - shift)
    return 0.0 if centred and low == high else length


@jit
def recompute_differences(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    rows: np.ndarray,
    other_data: np.ndarray,
    other_indices: np.ndarray,
    other_indptr: np.ndarray,
    other_rows: np.ndarray,
    background: np.ndarray,
    n_features: int,
    flagged: np.ndarray,
    accumulator: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Set the flagged pairs to the sum of squared differences, features in their order.

    ``rows`` and ``other_rows`` are ``(n, 2)``: a row is what is stored less its shift and the
    background, all multiplied by a factor; shift and factor of each. Without a background (it is
    empty) the features that neither row stores differ by one and the same number.
    """
    has_background = background.shape[0] > 0
    for i in range(flagged.shape[0]):
        for j in range(flagged.shape[1]):
            if not flagged[i, j]:
                continue
            e, stop = indptr[i], indptr[i + 1]
            o, other_stop = other_indptr[j], other_indptr[j + 1]
            shift, factor = rows[i, 0], rows[i, 1]
            other_shift, other_factor = other_rows[j, 0], other_rows[j, 1]
            total = 0.0
            if has_background:
                for f in range(n_features):
                    x = y = -background[f]
                    if e < stop and indices[e] == f:
                        x += data[e]
                        e += 1
                    if o < other_stop and other_indices[o] == f:
                        y += other_data[o]
                        o += 1
                    x = (x - shift) * factor - (y - other_shift) * other_factor
                    total += x * x
            else:
                n_both_zero = n_features
                while e < stop or o < other_stop:
                    f = indices[e] if e < stop else n_features
                    g = other_indices[o] if o < other_stop else n_features
                    x = y = 0.0
                    if f <= g:
                        x = data[e]
                        e += 1
                    if g <= f:
                        y = other_data[o]
                        o += 1
                    x = (x - shift) * factor - (y - other_shift) * other_factor
                    total += x * x
                    n_both_zero -= 1
                x = shift * factor - other_shift * other_factor
                total += n_both_zero * (x * x)
            accumulator[i, j] = total
