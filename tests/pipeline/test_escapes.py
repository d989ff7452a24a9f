"""Labels and paths say what they are, and do nothing, wherever they are written."""

import csv
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import LocalCluster
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.escapes import (
    drawable,
    escape_field,
    escape_label,
    escape_terminal,
    unescape_field,
    unescape_label,
)
from clustergrid.storage.rundir import RunDirectory

SMALL = ["--figsize", "8", "8", "--dpi", "60"]
IMAGE = "<img src=x onerror=document.title='taken'>"
LABELS = [
    "<script>document.title='taken'</script>",
    IMAGE,
    "--><script>document.title='taken'</script><!--",
    "]]><svg onload=document.title='taken'>",
    "&lt;b&gt; & &amp;",
    r"$\alpha^2$",
    r"$\nosuchmacro{$",
    "=HYPERLINK(0)",
    "@SUM(1)",
    "-1.5",
    "\x1b[2Jgone",
    "nul\x00, form feed\x0c",
    '"quoted',
    "plain",
]
NUMBER = re.compile(r"[+-]?[\d.]+([eE][+-]?\d+)?")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


def odd_frame():
    n = len(LABELS)
    values = np.random.default_rng(0).normal(size=(n, n)).round(6)
    frame = pd.DataFrame(values, LABELS, [f"{label}!" for label in LABELS])
    return frame.rename_axis(index="<b>rows</b>", columns="<i>columns</i>")


# Text


@given(st.text())
@example("\\n")
@example("\ud800\\ud800")
@example("\\\\x0a\n")
def test_an_escaped_label_is_one_line_and_reads_back(label):
    escaped = escape_label(label)
    assert len(escaped.splitlines()) == (1 if label else 0)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", escaped)
    escaped.encode()
    assert unescape_label(escaped) == label


ODD_STARTS = st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "'", '"', "＝", "1", "-1"])


@given(st.one_of(st.text(), st.tuples(ODD_STARTS, st.text()).map("".join)))
@example("'=1")
@example("''")
@example("-1.5")
def test_a_field_is_no_formula_and_reads_back(label):
    field = escape_field(label)
    assert unescape_field(field) == label
    assert not field.startswith(("\t", "\r", "\n", '"', "＝", "＋", "－", "＠"))
    if field.startswith(("=", "+", "-", "@")):
        assert NUMBER.fullmatch(field)
        float(field)


@pytest.mark.parametrize("number", ["-1.5", "+3", "-.5", "-1e-5", "1.", "-0"])
def test_numbers_stay_numbers(number):
    assert escape_field(number) == number


@pytest.mark.parametrize("formula", ["-1+1", "-1.5.2", "+A1", "-", "+1e", "-١", "=1", "@x", "-1\n"])
def test_other_things_that_begin_like_numbers_do_not(formula):
    assert escape_field(formula) == f"'{escape_label(formula)}"


@given(st.text())
def test_what_is_drawn_is_xml_and_what_is_printed_is_no_command(text):
    ET.fromstring(f"<a>{drawable(text).replace('&', '').replace('<', '')}</a>")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]",
                         escape_terminal(text))  # fmt: skip
    escape_terminal(text).encode()


# Tables


def read_back(path: Path) -> list[str]:
    lines = path.read_bytes().decode().split("\n")[1:-1]
    return [unescape_field(line.split("\t")[0]) for line in lines]


def test_a_table_of_clusters_computes_nothing_and_reads_back(call, tmp_path):
    odd = [*LABELS, "+cmd|' /C calc'!A0", "\t=1", "\r=1", '"=1+1"', "'", "two\nlines", "＝1"]
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(len(odd), 3)), odd, list("abc"))
    frame.to_parquet(tmp_path / "m.parquet")
    out = tmp_path / "run"
    assert call("run", tmp_path / "m.parquet", "-o", out, *SMALL, "--row-k", 2)[0] == 0
    file = out / "clusters_row.tsv"
    assert sorted(read_back(file)) == sorted(odd)
    order = (out / "order_row.txt").read_text().split("\n")[:-1]
    assert [unescape_label(line) for line in order] == read_back(file)
    # As a spreadsheet reads it, quotes and all, and as pandas does.
    with file.open(newline="") as stream:
        cells = [cell for row in csv.reader(stream, dialect="excel-tab") for cell in row]
    assert len(cells) == 3 * (len(odd) + 1)
    for cell in cells:
        assert cell[0] not in "=+@\t\r" or NUMBER.fullmatch(cell)
        assert cell[0] != "-" or NUMBER.fullmatch(cell)
    assert "-1.5" in cells
    table = pd.read_csv(file, sep="\t", dtype=str)
    assert sorted(map(unescape_field, table["label"])) == sorted(odd)


def test_a_table_of_colours_computes_nothing_and_draws_again(call, tmp_path):
    labels = ["=1+1", "@x", '"q', "tab\there", "plain"]
    frame = pd.DataFrame(np.random.default_rng(2).normal(size=(5, 4)), labels, list("abcd"))
    frame.to_parquet(tmp_path / "m.parquet")
    colors = pd.DataFrame({"=strip()": ["red", "#00ff00", "blue", "red", "k"]}, labels)
    colors.loc["not in the matrix"] = "=cmd()"
    colors.to_csv(tmp_path / "colors.tsv", sep="\t")
    out = tmp_path / "run"
    answer = call("run", tmp_path / "m.parquet", "-o", out, *SMALL, "--row-colors",
                  tmp_path / "colors.tsv", "--format", "svg")  # fmt: skip
    assert answer[0] == 0, answer
    with (out / "row_colors.tsv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream, dialect="excel-tab") for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "-"))]
    first = (out / "figure.svg").read_bytes()
    assert "=strip()" in texts_of(first)
    for color in ("#00ff00", "#0000ff"):
        assert color in first.decode()
    assert call("plot", out, *SMALL, "--format", "svg", "--name", "again")[0] == 0
    assert texts_of((out / "again.svg").read_bytes()) == texts_of(first)


# Pictures


def texts_of(svg: bytes) -> list[str]:
    return [
        "".join(element.itertext()) for element in ET.fromstring(svg).iter()
        if element.tag.endswith("}text")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A run of a matrix whose labels are anything but words."""
    folder = tmp_path_factory.mktemp("pictures")
    odd_frame().to_parquet(folder / "m.parquet")
    formats = [word for name in ("svg", "pdf", "png") for word in ("--format", name)]
    main(["run", str(folder / "m.parquet"), "-o", str(folder / "run"), *SMALL, *formats,
          "--cbar-label", r"$\log_2$ <b>", "--legend", r"<u>$\beta$=red"])  # fmt: skip
    return folder / "run"


def test_labels_are_shown_literally_in_svg(pictures):
    svg = (pictures / "figure.svg").read_bytes()
    shown = texts_of(svg)
    for label in LABELS:
        assert drawable(label) in shown
        assert drawable(label) + "!" in shown
    root = ET.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "img", "foreignObject", "a", "iframe"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_an_option_may_hold_mathtext(pictures):
    shown = "".join("".join(texts_of((pictures / "figure.svg").read_bytes())).split())
    assert "<b>" in shown
    assert "log_2" not in shown
    assert "<u>β" in shown


def test_a_pdf_holds_nothing_that_acts(pictures):
    pdf = (pictures / "figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert not re.search(rb"/(JavaScript|JS|URI|Launch|OpenAction|EmbeddedFile)\b", pdf)
    with Image.open(pictures / "figure.png") as image:
        assert image.size > (100, 100)


def dom_of(page: Path, tmp_path: Path) -> str:
    """What a browser makes of a page, its scripts run."""
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_runs_nothing_of_a_label(pictures, tmp_path):
    # That a page which does run its labels is noticed.
    (tmp_path / "bad.html").write_text(f"<title>mine</title>{IMAGE}")
    assert "<title>taken</title>" in dom_of(tmp_path / "bad.html", tmp_path)
    page = tmp_path / "page.html"
    page.write_text("<title>mine</title>" + (pictures / "figure.svg").read_text())
    seen = dom_of(page, tmp_path)
    assert "<title>mine</title>" in seen
    assert "&lt;script&gt;document.title='taken'&lt;/script&gt;" in seen
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", seen)


class Elements(HTMLParser):
    """Elements of a page that a label would have brought, and its text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.brought: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in ("img", "b", "i", "u") or any(name.startswith("on") for name, _ in attrs):
            self.brought.append(f"<{tag} {attrs}>")


@pytest.mark.slow
def test_performance_reports_hold_no_labels_and_no_paths(tmp_path, monkeypatch, call):
    folder = tmp_path / IMAGE
    folder.mkdir()
    monkeypatch.chdir(folder)
    odd_frame().to_parquet(f"{IMAGE}.parquet")
    values = np.random.default_rng(4).normal(size=(60, 30))
    dims = (IMAGE.replace("/", ""), "<b>c")
    odd = xr.Dataset({"<u>matrix": (dims, values)}).chunk()
    odd.to_zarr(f"{IMAGE}.zarr", zarr_format=3, consolidated=False)
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "300s"}),
        LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1",
                     dashboard_address="127.0.0.1:0") as cluster,
    ):  # fmt: skip
        for suffix in ("parquet", "zarr"):
            answer = call("run", f"{IMAGE}.{suffix}", "-o", f"run-{suffix}", *SMALL, "--scheduler",
                          cluster.scheduler_address)  # fmt: skip
            assert answer[0] == 0, answer
    pages = sorted(folder.rglob("report/*.html"))
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text()
        assert "document.title='taken'" not in text, page
        elements = Elements()
        elements.feed(text)
        assert not elements.brought, page
    if CHROMIUM is not None:
        shutil.copy(pages[-1], tmp_path / "report.html")
        seen = dom_of(tmp_path / "report.html", tmp_path)
        assert "<title>taken</title>" not in seen
        assert "Duration" in seen or "bk-" in seen  # it was drawn


# The terminal and JSON


@pytest.mark.parametrize("command", ["run", "plan"])
def test_messages_hold_no_terminal_commands(call, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    output = ["-o", "run"] if command == "run" else []
    for path in ("\x1b]0;taken\x07none.csv", "a\x9b31m.npy", "\u202egpj.npy"):
        Path(path).write_text("nonsense")
        status, out, err = call(command, path, *output)
        assert status == 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out + err), (out, err)
        (line,) = [line for line in err.splitlines() if line.startswith("clustergrid:")]
        assert "\\x1b" in line or "\\x9b" in line or "\\u202e" in line


def test_results_and_status_hold_no_terminal_commands(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd_frame().to_parquet("m.parquet")
    odd = "run\x1b[31m"
    status, out, err = call("run", "m.parquet", "-o", odd, *SMALL)
    assert status == 0
    assert "\x1b" not in out + err
    assert "run\\x1b[31m" in out
    run = RunDirectory(odd)
    run.update(files={**run.state["files"], "evil\x1b[2J": "\x1b]0;taken\x07"})
    for command in (["status", odd], ["plot", odd, *SMALL]):
        status, out, err = call(*command)
        assert status == 0, err
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err), (out, err)


def test_run_json_is_json_whatever_the_labels_are(pictures):
    state = json.loads((pictures / "run.json").read_text())
    assert state["request"]["figure"]["cbar_label"] == r"$\log_2$ <b>"
    for line in (pictures / "progress.jsonl").read_text().splitlines():
        json.loads(line)
