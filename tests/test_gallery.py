"""Every example of the gallery runs, and its page and pictures are those of the code there now."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image

pytestmark = pytest.mark.quick_cases(one_in=16)

mpl.use("Agg")

ROOT = Path(__file__).parents[1]
MOST_PICTURE_BYTES = 400_000


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


gallery = _load()
EXAMPLES = gallery.examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs(example: Any) -> None:
    drawn = example.run()
    figure = getattr(drawn, "figure", drawn)
    figure.canvas.draw()
    assert figure.axes


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_picture_is_of_the_code_that_is_there(example: Any) -> None:
    again = f"python docs/gallery/make.py {example.name}"
    assert example.picture.exists(), again
    with Image.open(example.picture) as picture:
        assert picture.info[gallery.DIGEST] == example.digest, again
    assert example.picture.stat().st_size < MOST_PICTURE_BYTES


def test_the_page_is_of_the_examples_that_are_there() -> None:
    written = gallery.README.read_text(encoding="utf-8")
    assert written == gallery.page(), "python docs/gallery/make.py"
    pictures = {path.stem for path in gallery.HERE.glob("*.png")}
    assert pictures == {example.name for example in EXAMPLES}


@pytest.mark.parametrize("text", ["x = 1", '"""No full stop\n\nLine."""', '"""A title."""\nx = 1'])
def test_an_example_without_its_text_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"odd\.py has no docstring"):
        gallery.Example.read(path)
