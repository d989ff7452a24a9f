"""Newick text, read back by another package, and by hand where a tree is too deep for that."""

import io
import re

import newick
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.tree.newick import newick_parts, to_newick, write_newick
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.tree.trees import METHODS, chain, random_tree, tree


def read_heights(text):
    """Return, of every cluster: its leaves in their order, and its distance from a leaf."""
    root = newick.loads(text)[0]
    found = {}
    leaves, heights = {}, {}
    for node in root.walk(mode="postorder"):
        if node.is_leaf:
            leaves[node], heights[node] = (node.unquoted_name,), 0.0
        else:
            leaves[node] = sum((leaves[child] for child in node.descendants), ())
            first, second = (heights[child] + child.length for child in node.descendants)
            assert first == pytest.approx(second, rel=1e-12, abs=0)
            heights[node] = first
            found[leaves[node]] = first
    return found


def clusters_of(Z, labels):
    leaves = [(str(label),) for label in labels]
    found = {}
    for left, right, height, _ in Z.tolist():
        leaves.append(leaves[int(left)] + leaves[int(right)])
        found[leaves[-1]] = height
    return found


def assert_read_back(Z, text, labels):
    expected, found = clusters_of(Z, labels), read_heights(text)
    assert found.keys() == expected.keys()
    for leaves, height in found.items():
        assert height == pytest.approx(expected[leaves], rel=1e-12, abs=0)


@settings(max_examples=examples(40), deadline=None)
@given(n=st.integers(2, 60), seed=st.integers(0, 1000), ties=st.booleans(), data=st.data())
def test_it_is_the_tree(n, seed, ties, data):
    Z = tree(n, data.draw(st.sampled_from((*METHODS, "median"))), ties, seed)
    assert_read_back(Z, to_newick(Z), range(n))


LABELS = [
    *("TP53", "HLA-A", "a b", "a_b", "it's", "''", "(x)", "x:1", "a,b", "a;b", "[c]", 'say "x"'),
    *("Überlänge", "β-catenin", "東京", "", " ", "1e-5", "a/b|c", "tab\there", "&#{}"),
]


def test_labels_are_read_back():
    Z = tree(len(LABELS))
    assert_read_back(Z, to_newick(Z, LABELS), LABELS)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"])), min_size=2, max_size=6))
def test_any_label_is_read_back(labels):
    Z = chain(len(labels))
    text = to_newick(Z, labels)
    # The package takes backslashes for escapes; here a label ends at a quote that is not doubled.
    found = re.findall(r"'((?:[^']|'')*)'(?=:)|(?<=[(,])([^()',:;]+)(?=:)", text)
    names = [quoted.replace("''", "'") or plain for quoted, plain in found]
    assert names == [labels[leaf] for leaf in leaf_order(Z)]


def test_quotes_only_where_they_are_needed():
    assert to_newick(chain(3), ["HLA-A", "x.1", "b_2"]) == "('b_2':1.0,(HLA-A:0.0,x.1:0.0):1.0);"
    assert to_newick(chain(2)) == "(0:0.0,1:0.0);"


def test_heights_that_invert_give_negative_lengths():
    Z = np.array([[0, 1, 3.0, 2], [2, 3, 2.0, 3]])
    assert to_newick(Z) == "(2:2.0,(0:3.0,1:3.0):-1.0);"
    assert_read_back(Z, to_newick(Z), range(3))


def test_lengths_keep_their_bits():
    Z = tree(50, "average")
    lengths = [float(x) for x in re.findall(r":([^,()]+)", to_newick(Z))]
    heights = np.concatenate([np.zeros(50), Z[:, 2]])
    expected = [height - heights[int(c)] for *pair, height, _ in Z.tolist() for c in pair]
    assert sorted(lengths) == sorted(expected)


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("make", [random_tree, chain])
def test_a_million_leaves_to_a_file(make, mirrored, tmp_path):
    n = 1_000_000
    Z = make(n)
    if mirrored:
        Z[:, :2] = Z[:, 1::-1].copy()
    write_newick(Z, tmp_path / "tree.nwk")
    text = (tmp_path / "tree.nwk").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["tree.nwk"]
    assert text.endswith(");\n")
    # A reader without recursion: the depth after every bracket, and the heights above leaves.
    leaves = np.array(re.findall(r"[(,](\d+):", text), np.int64)
    np.testing.assert_array_equal(leaves, leaf_order(Z))
    brackets = np.frombuffer(text.encode(), np.uint8)
    depth = np.cumsum((brackets == ord("(")).astype(int) - (brackets == ord(")")))
    assert depth.min() == 0
    assert (depth[:-3] > 0).all()
    assert text.count("(") == text.count(",") == n - 1
    lengths = np.array(re.findall(r":([^,()]+)", text), float)
    heights = np.concatenate([np.zeros(n), Z[:, 2]])
    ids = Z[:, :2].astype(int)
    expected = Z[:, 2, None] - heights[ids]
    np.testing.assert_array_equal(np.sort(lengths), np.sort(expected.ravel()))


def test_parts_are_bounded(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.tree.newick._LEAVES_AT_ONCE", 7)
    for Z in (tree(50), chain(50), tree(49), chain(7)):
        parts = list(newick_parts(Z))
        assert len(parts) == -(-(len(Z) + 1) // 7)
        assert_read_back(Z, "".join(parts), range(len(Z) + 1))


def test_to_an_open_file_and_over_an_old_one(tmp_path):
    Z = tree(12)
    opened = io.StringIO()
    write_newick(Z, opened, LABELS[:12])
    path = tmp_path / "t.nwk"
    path.write_text("old")
    with pytest.raises(DataValueError, match="12 leaves, got 11 labels"):
        write_newick(Z, path, LABELS[:11])
    assert path.read_text() == "old"
    write_newick(Z, str(path), np.array(LABELS[:12]))
    assert path.read_text(encoding="utf-8") == opened.getvalue() == to_newick(Z, LABELS[:12]) + "\n"


def test_what_is_no_tree_is_refused_at_once():
    with pytest.raises(DataValueError, match="4 columns"):
        newick_parts(np.zeros((3, 3)))
