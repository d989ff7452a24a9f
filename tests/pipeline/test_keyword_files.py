"""Keywords of metrics in the command: numbers, and files of numbers that a run keeps."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline.keyword_files import parse_keywords
from clustergrid.storage.errors import ClustergridError

VALUES = np.random.default_rng(0).normal(size=(30, 5)).round(6)
SMALL = ["--figsize", "2", "2", "--dpi", "40"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(VALUES).to_csv("a.csv")
    np.save("w.npy", np.arange(5.0))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.txt", "1 2 0.5"),
        ("w.txt", "1\n2\n0.5\n\n"),
        ("w.csv", "1,2,0.5\n"),
        ("w.tsv", "1\t2\t.5"),
    ],
)
def test_numbers_in_a_text(folder, name, content):
    Path(name).write_text(content)
    given = parse_keywords([f"w={name}", "p=inf"])
    assert given.keywords.w.tolist() == [1, 2, 0.5]
    assert given.keywords.p == np.inf
    assert given.files == {"w": str(folder / name)}


def test_a_matrix_in_a_text(folder):
    Path("VI.csv").write_text("1,2\n3,4\n")
    assert parse_keywords(["VI=VI.csv"]).keywords.VI.tolist() == [[1, 2], [3, 4]]
    np.save("one.npy", np.ones((1, 1)))
    assert parse_keywords(["VI=one.npy"]).keywords.VI.shape == (1, 1)


def write(name, content):
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        np.save(name, content)


@pytest.mark.parametrize(
    ("entries", "content", "words"),
    [
        (["p"], None, "'p' is not NAME=VALUE"),
        (["=3"], None, "'=3' is not NAME=VALUE"),
        (["p="], None, "'p=' is not NAME=VALUE"),
        (["p=3", "p=4"], None, "p is given twice"),
        (["q=3"], None, "no metric takes 'q'"),
        (["p=three"], None, "p must be a number, got 'three'"),
        (["min_periods=2.5"], None, "min_periods must be a whole number, got '2.5'"),
        (["w=none.npy"], None, "cannot read w from none.npy"),
        (["w=."], None, "cannot read|not a regular file|directory"),
        (["w=b.txt"], b"", "it is empty"),
        (["w=b.txt"], b"a b c", "holds no numbers"),
        (["w=b.txt"], b"1 2\n3", "holds no numbers"),
        (["w=b.txt"], b"\xff\xfe1", "cannot read w from b.txt"),
        (["w=b.npy"], b"1 2 3", "holds no numbers"),
        (["w=b.npy"], np.array(["a"]), "w must hold real numbers, and b.npy holds <U1"),
        (["w=b.npy"], np.array([1j]), "w must hold real numbers, and b.npy holds complex128"),
        (["w=b.npy"], np.array([{}], dtype=object), "holds no numbers"),
        (["w=b.npy"], np.ones((2, 2)), r"w must have 1 dimensions, has \(2, 2\)"),
        (["w=b.npy"], np.array([1, np.nan]), "w must hold finite numbers"),
    ],
)
def test_what_is_no_keyword(folder, call, entries, content, words):
    if content is not None:
        write(entries[0].partition("=")[2], content)
    with pytest.raises(ClustergridError, match=words):
        parse_keywords(entries)
    options = [part for entry in entries for part in ("--metric-kws", entry)]
    status, out, err = call("plan", "a.csv", "--metric", "minkowski", *options)
    assert (status, out) == (2, "")
    assert re.search(words, err.splitlines()[-1])
    assert "--metric-kws" in err


def test_keywords_reach_the_trees_and_stay_in_the_run(folder, call):
    asked = ["run", "a.csv", "-o", "run", *SMALL, "--metric", "minkowski", "--metric-kws", "p=3",
             "--row-metric-kws", "p=1.5", "--row-metric-kws", "w=w.npy"]  # fmt: skip
    status, _, err = call(*asked)
    assert status == 0, err
    expected = [
        scipy_pdist(VALUES, "minkowski", p=1.5, w=np.arange(5.0)),
        scipy_pdist(VALUES.T, "minkowski", p=3),
    ]
    for name, distances in zip(("row", "col"), expected, strict=True):
        found = np.load(f"run/linkage_{name}.npy")
        np.testing.assert_allclose(found[:, 2], scipy_linkage(distances, "average")[:, 2])
    request = json.loads(Path("run/run.json").read_text())["request"]
    assert request["row"]["metric_kws"]["p"] == 1.5
    assert request["metric_files"] == {"row": {"w": str(folder / "w.npy")}, "col": {}}
    status, out, err = call("verify", "run")
    assert status == 0, err
    assert "checked: distances of row" in out
    status, _, err = call(*asked)
    assert "kept from the last run: distance-row, distance-col, linkage-row, linkage-col" in err
    # The file is the same, its numbers are others.
    np.save("w.npy", np.arange(5.0) + 1)
    status, _, err = call(*asked)
    assert re.search(r"row metric_kws w was an array \(sha256 \w{12}\) and is an array", err)
    assert "kept from the last run: distance-col, linkage-col" in err
    distances = scipy_pdist(VALUES, "minkowski", p=1.5, w=np.arange(5.0) + 1)
    np.testing.assert_allclose(
        np.load("run/linkage_row.npy")[:, 2], scipy_linkage(distances, "average")[:, 2]
    )
    Path("w.npy").unlink()
    assert call("plot", "run", *SMALL, "--name", "again")[0] == 0
    assert call("verify", "run")[0] == 0


def test_what_follows_from_the_data_is_kept_too(folder, call):
    asked = ["run", "a.csv", "-o", "run", *SMALL, "--metric", "seuclidean", "--no-col-cluster"]
    assert call(*asked)[0] == 0
    _, _, err = call(*asked)
    assert "kept from the last run: distance-row, linkage-row" in err


@pytest.mark.parametrize("command", ["plan", "run"])
def test_keywords_of_one_axis_only(folder, call, command):
    place = ["-o", "run", *SMALL]
    status, _, err = call(
        command, "a.csv", *place, "--metric", "cityblock", "--metric-kws", "w=w.npy"
    )
    assert status == 1
    assert err.splitlines()[-1] == (
        "clustergrid: w is for 5 features, and the columns have 30: give keywords to one axis, "
        "--row-metric-kws or --col-metric-kws"
    )
    status, _, err = call(
        command, "a.csv", *place, "--metric", "cityblock", "--row-metric-kws", "w=w.npy"
    )
    assert status == 0, err


def test_keywords_that_the_metric_does_not_take(folder, call):
    status, _, err = call("plan", "a.csv", "--metric", "cosine", "--metric-kws", "p=3")
    assert status == 2
    assert "cosine does not take p: it takes w" in err
