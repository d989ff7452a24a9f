"""Spanning trees of single tiles, and the bounds that keep most of their edges out."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from clustergrid.pipeline.hierarchy._edges import Edges, spanning_forest
from clustergrid.pipeline.hierarchy._forest import tree_of_square, tree_of_tile
from clustergrid.pipeline.hierarchy._path_bounds import path_bounds


def random_edges(rng, n, m, *, tied=False):
    ends = np.array([rng.choice(n, 2, replace=False) for _ in range(m)])
    weight = rng.integers(0, 4, m).astype(float) if tied else rng.random(m)
    return Edges(lower=ends.min(axis=1), higher=ends.max(axis=1), weight=weight)


def triples(edges):
    return list(zip(edges.weight, edges.lower, edges.higher, strict=True))


def greatest_of_path(forest, n, root):
    """The greatest edge, in order, from a root to every vertex, by walking."""
    neighbours = {v: [] for v in range(n)}
    for edge in triples(forest):
        neighbours[edge[1]].append((edge[2], edge))
        neighbours[edge[2]].append((edge[1], edge))
    found, waiting = {root: (-np.inf, -1, -1)}, [root]
    while waiting:
        vertex = waiting.pop()
        for other, edge in neighbours[vertex]:
            if other not in found:
                found[other] = max(found[vertex], edge)
                waiting.append(other)
    return found


@pytest.mark.parametrize("tied", [False, True])
def test_bounds_are_the_greatest_edges_of_paths(tied):
    rng = np.random.default_rng(1)
    for n, m in ((2, 1), (30, 200), (60, 50)):
        forest = spanning_forest(random_edges(rng, n, m, tied=tied), n)
        bounds = path_bounds(forest, n)
        for r in range(len(bounds.weight)):
            root = int(np.flatnonzero(bounds.weight[r] == -np.inf)[0])
            walked = greatest_of_path(forest, n, root)
            for vertex in range(n):
                if vertex not in walked:
                    assert bounds.weight[r, vertex] == np.inf
                elif vertex != root:
                    found = (
                        bounds.weight[r, vertex],
                        bounds.lower[r, vertex],
                        bounds.higher[r, vertex],
                    )
                    assert found == walked[vertex]


def test_large_clusters_have_roots_of_their_own():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(90, 2)) + np.repeat([0.0, 100.0, 300.0], 30)[:, None]
    square = np.linalg.norm(points[:, None] - points, axis=2)
    bounds = path_bounds(tree_of_square(square, 0), 90)
    roots = np.argwhere(bounds.weight == -np.inf)[:, 1]
    assert sorted(set(roots // 30)) == [0, 1, 2]
    assert bounds.weight.min(axis=0).max() < 10


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 2, 3, 130, 260])
def test_tree_of_a_square_is_the_least(m, dtype):
    rng = np.random.default_rng(m)
    points = rng.normal(size=(m, 3))
    square = np.linalg.norm(points[:, None] - points, axis=2).astype(dtype)
    tree = tree_of_square(square, 1000)
    assert tree.weight.dtype == dtype
    assert len(tree) == m - 1
    expected = minimum_spanning_tree(square.astype(np.float64))
    np.testing.assert_allclose(tree.weight.sum(dtype=np.float64), expected.sum(), rtol=1e-6)
    assert set(zip(tree.lower - 1000, tree.higher - 1000, strict=True)) == {
        (min(pair), max(pair)) for pair in zip(*expected.nonzero(), strict=True)
    }
    assert triples(tree) == sorted(triples(tree))


@pytest.mark.parametrize("tied", [False, True])
def test_edges_may_come_in_any_parts(tied):
    rng = np.random.default_rng(3)
    n, edges = 50, random_edges(np.random.default_rng(4), 50, 600, tied=tied)
    # Of two vertices, one distance.
    _, first = np.unique(edges.lower * n + edges.higher, return_index=True)
    edges = edges[first]
    expected = spanning_forest(edges, n)
    for n_parts in (2, 7):
        forest = Edges.none(np.float64)
        for part in np.array_split(rng.permutation(len(edges)), n_parts):
            forest = spanning_forest(Edges.joined([forest, edges[part]]), n)
        assert triples(forest) == triples(expected)
    weights = coo_array((edges.weight + 1, (edges.lower, edges.higher)), shape=(n, n))
    total = minimum_spanning_tree(weights).sum() - len(expected)
    np.testing.assert_allclose(expected.weight.sum(), total)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("with_trees", [False, True])
def test_a_tile_of_which_nothing_is_known(tied, with_trees):
    # More edges pass than there is room for, so they are reduced on the way.
    rng = np.random.default_rng(5)
    height, width = 300, 260
    rows, columns = slice(100, 400), slice(1000, 1260)
    tile = rng.random((height, width))
    squares = [rng.random((size, size)) + 0.2 for size in (height, width)]
    if tied:
        tile, squares = np.floor(4 * tile), [np.floor(4 * square) for square in squares]
    trees = Edges.joined(
        [
            tree_of_square(np.minimum(square, square.T), part.start)
            for square, part in zip(squares, (rows, columns), strict=True)
        ]
    )
    nothing = path_bounds(Edges.none(np.float64), 1260)
    found = tree_of_tile(
        tile,
        rows,
        columns,
        row_bounds=nothing.of(rows),
        column_bounds=nothing.of(columns),
        known=trees if with_trees else None,
    )
    i, j = np.indices(tile.shape)
    pairs = Edges(lower=100 + i.ravel(), higher=1000 + j.ravel(), weight=tile.ravel())
    everything = Edges.joined([pairs, trees]) if with_trees else pairs
    assert triples(found) == triples(spanning_forest(everything, 1260))


def test_edges_are_equally_long():
    with pytest.raises(ValueError, match=r"equally long, got \(1,\), \(2,\) and \(1,\)"):
        Edges(lower=np.zeros(1, int), higher=np.zeros(2, int), weight=np.zeros(1))
