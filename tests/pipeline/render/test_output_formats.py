"""What is in the files: a picture of the body, and lines and text that stay lines and text."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clustergrid.pipeline.render import Bars, clustermap

pytestmark = pytest.mark.quick_cases(one_in=16)

SVG = "{http://www.w3.org/2000/svg}"
N = 3000


@pytest.fixture
def large() -> Any:
    """Return a grid whose body is an image, with everything beside it."""
    rows = [f"gene {i}" for i in range(N)]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 40)), index=rows)
    return clustermap(
        table,
        figsize=(5, 5),
        row_mark=["gene 7", "gene 1234"],
        row_annotations={"kind": ["one", "two", None] * (N // 3), "value": Bars(np.arange(N))},
        row_colors=["r", "g", "b"] * (N // 3),
        cbar_kws={"label": "expression"},
    )


def _saved(g: Any, kind: str, **kws: Any) -> bytes:
    file = io.BytesIO()
    with plt.rc_context({"pdf.compression": 0}):
        g.savefig(file, format=kind, **kws)
    return file.getvalue()


def _images(pdf: bytes) -> list[tuple[int, int]]:
    """Height and width of every image of a PDF, masks of transparency not counted."""
    objects = re.findall(rb"<<(?:(?!>>).)*?/Subtype /Image(?:(?!endobj).)*?stream", pdf, re.DOTALL)
    return [
        tuple(int(re.search(rb"/%s (\d+)" % side, each).group(1)) for side in (b"Height", b"Width"))
        for each in objects
        if b"/DeviceGray" not in each
    ]


def test_a_pdf_holds_the_body_as_an_image_of_the_asked_resolution(large: Any) -> None:
    box = large.ax_heatmap.get_position()
    for dpi in (100, 220):
        pdf = _saved(large, "pdf", dpi=dpi)
        width, height = large.figure.get_size_inches()
        expected = box.height * height * dpi, box.width * width * dpi
        assert any(np.allclose(shape, expected, atol=2) for shape in _images(pdf)), _images(pdf)
        assert len(_images(pdf)) <= 3  # the body, its colour bar, strips of mixed colours


def test_a_pdf_holds_text_in_fonts_and_trees_as_lines(large: Any) -> None:
    pdf = _saved(large, "pdf")
    assert b"/FontFile2" in pdf
    assert b"/Subtype /Type3" not in pdf
    assert b"/ToUnicode" in pdf
    # Each link of the column tree is a line of its own, of the row tree what can be seen.
    lines = len(re.findall(rb"^[-\d.]+ [-\d.]+ l$", pdf, re.MULTILINE))
    assert lines > 3 * 39


def test_an_svg_holds_text_as_text(large: Any) -> None:
    root = ElementTree.fromstring(_saved(large, "svg"))
    texts = {"".join(each.itertext()).strip() for each in root.iter(f"{SVG}text")}
    assert {"gene 7", "gene 1234", "expression", "kind", "one", "two", "missing", "value"} <= texts
    assert len(list(root.iter(f"{SVG}image"))) <= 3
    assert len(list(root.iter(f"{SVG}path"))) > 100


def test_text_is_text_whatever_the_defaults_are(large: Any) -> None:
    with plt.rc_context({"svg.fonttype": "path", "pdf.fonttype": 3}):
        assert b"<text" in _saved(large, "svg")
        assert plt.rcParams["svg.fonttype"] == "path"


def test_a_png_has_the_resolution_asked_for(large: Any) -> None:
    one, two = (Image.open(io.BytesIO(_saved(large, "png", dpi=dpi))) for dpi in (80, 160))
    assert abs(two.size[0] - 2 * one.size[0]) <= 4


@pytest.mark.slow
def test_a_body_of_many_small_cells_is_an_image_in_a_pdf() -> None:
    values = np.random.default_rng(0).normal(size=(300, 60))
    g = clustermap(values, figsize=(6, 6))
    assert g.ax_heatmap.collections, "each cell is drawn"
    assert len(_saved(g, "pdf")) < 1_500_000
    assert any(min(shape) > 200 for shape in _images(_saved(g, "pdf")))
    kept = clustermap(values, figsize=(6, 6), rasterized=False)
    assert not any(min(shape) > 200 for shape in _images(_saved(kept, "pdf")))
    few = clustermap(values[:20, :20], figsize=(6, 6))
    assert not any(min(shape) > 200 for shape in _images(_saved(few, "pdf")))


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_a_file_of_28_057_rows_is_small(kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(28_057, 115)).astype(np.float32)
    g = clustermap(values, row_cluster=False, row_colors=["r", "g", "b", "k"] * 7014 + ["r"])
    file = io.BytesIO()
    g.savefig(file, format=kind, dpi=150)
    assert len(file.getvalue()) < 3_000_000
