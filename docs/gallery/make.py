"""Draw every example of the gallery, and write the page that shows them.

    python docs/gallery/make.py [NAME ...]

``examples/NAME.py`` begins with a docstring of two paragraphs, a title and a line about it, and
leaves a `ClusterGrid` called ``g`` (or a matplotlib figure called ``figure``). Its picture is
``NAME.png``, which carries the digest of the code that it was drawn by; ``README.md`` has them all.
"""

from __future__ import annotations

import ast
import hashlib
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE / "README.md"
DPI = 80
DIGEST = "Comment"
"""Keyword of the text chunk of a PNG that holds the digest of its example."""

HEAD = """# Gallery

Every picture is made by the code above it, from data that come with the package (RNA in endometrial
carcinoma, CPTAC: [source and licence](../../storage/data/README.md)) or from random numbers.
`python docs/gallery/make.py` draws them all again and writes this page; a test runs each of them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A file of the gallery.

    Attributes
    ----------
    name
        Of the file, and of its picture.
    title, about
        The two paragraphs of its docstring.
    code
        What follows the docstring.
    """

    name: str
    title: str
    about: str
    code: str

    @classmethod
    def read(cls, path: Path) -> Example:
        """Read a file; one without two paragraphs of docstring is an error that names it."""
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        title, _, about = (ast.get_docstring(tree) or "").partition("\n\n")
        if not title.endswith(".") or not about:
            raise ValueError(f"{path} has no docstring of a title with a full stop and a line")
        code = "\n".join(source.splitlines()[tree.body[0].end_lineno :]).strip()
        return cls(name=path.stem, title=title[:-1], about=" ".join(about.split()), code=code)

    @property
    def picture(self) -> Path:
        """Where the picture is."""
        return HERE / f"{self.name}.png"

    @property
    def digest(self) -> str:
        """Digest of the code."""
        return hashlib.sha256(self.code.encode()).hexdigest()

    def run(self) -> Any:
        """Run the code; return the grid or the figure that it left, with a ``savefig``."""
        left = runpy.run_path(str(HERE / "examples" / f"{self.name}.py"))
        if "g" not in left and "figure" not in left:
            raise ValueError(f"example {self.name} leaves neither g nor figure")
        return left.get("g", left.get("figure"))

    def draw(self) -> None:
        """Make the picture."""
        self.run().savefig(
            self.picture, dpi=DPI, bbox_inches="tight", metadata={DIGEST: self.digest}
        )

    def section(self) -> str:
        """Return its part of the page."""
        parts = (
            f"## {self.title}",
            self.about,
            f"```python\n{self.code}\n```",
            f"![{self.title}]({self.picture.name})",
        )
        return "\n\n".join(parts)


def examples() -> list[Example]:
    """All examples, by name."""
    return [Example.read(path) for path in sorted((HERE / "examples").glob("*.py"))]


def page() -> str:
    """Text of the page."""
    return "\n\n".join([HEAD.strip(), *(example.section() for example in examples())]) + "\n"


def main(names: list[str]) -> None:
    """Draw the examples of these names, all without any, and write the page."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = {example.name: example for example in examples()}
    if unknown := sorted(set(names) - set(found)):
        raise SystemExit(f"no example {', '.join(unknown)}: there are {', '.join(found)}")
    for name in names or found:
        found[name].draw()
        plt.close("all")
        print(found[name].picture)
    README.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
