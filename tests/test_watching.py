"""What `docs/watching.md` says of tasks and gauges is what there is."""

import ast
import re
from pathlib import Path

import pytest
from dask.utils import key_split
from PIL import Image

from clustergrid.pipeline.dashboard.gauges import _FAMILIES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
QUOTED = set(re.findall("`([^`\n]+)`", PAGE))


def names_of_tasks():
    """Names that executors are given, where they are written out."""
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
            if called in ("map", "merge_groups", "GroupedWork", "next_wave"):
                for keyword in node.keywords:
                    if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                        yield keyword.value.value


NAMES = sorted(set(names_of_tasks()))


def test_names_are_found():
    assert {"distance-tile", "statistics", "downsample", "limits"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.quick_cases(one_in=1)
def test_dask_shows_a_task_under_the_name_that_it_was_given(name):
    # Dask drops what looks like a digest: eight letters of which the first is one of a to f.
    assert key_split((f"{name}-0123abcd-0", 7)) == name


# Tasks of threads of the driver are on no dashboard.
IN_THREADS = {"list-tile", "read-tile"}


def test_the_page_tells_of_every_kind_of_task():
    assert set(NAMES) - IN_THREADS <= QUOTED


def test_the_page_tells_of_every_gauge():
    gauges = {name for name, _, _ in _FAMILIES}
    assert gauges == {name for name in QUOTED if re.fullmatch("clustergrid_[a-z_]+", name)}


def test_the_picture_of_the_page_is_small():
    (name,) = re.findall(r"!\[[^]]*\]\((images/[^)]*)\)", PAGE)
    path = ROOT / "docs" / name
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert min(picture.size) > 600
