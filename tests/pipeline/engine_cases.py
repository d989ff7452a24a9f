"""Every engine with what it can be given, and the methods that it serves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import linkage, pdist
from clustergrid.pipeline.hierarchy import METHODS, REDUCIBLE_METHODS

__all__ = ["CASES", "EngineCase"]


@dataclass(frozen=True, kw_only=True)
class EngineCase:
    """A tree by one engine, made of rows, of SciPy's vector of distances, or of tiles."""

    engine: str
    given: str
    method: str

    def __str__(self) -> str:
        return f"{self.engine} of {self.given}, {self.method}"

    @property
    def takes_scipys_distances(self) -> bool:
        """Whether distances are those of `scipy.spatial.distance.pdist` to the bit."""
        return self.given == "vector"

    def of(self, points: np.ndarray) -> Any:
        """Return what the engine is given of points with Euclidean distances."""
        makes = {"rows": np.copy, "vector": scipy_pdist, "tiles": pdist}
        return makes[self.given](points)

    def tree(self, points: np.ndarray) -> np.ndarray:
        """Return the linkage matrix."""
        return linkage(self.of(points), self.method, engine=self.engine)


_SERVED = {
    ("scipy", "vector"): METHODS,
    ("scipy", "rows"): METHODS,
    ("square", "vector"): METHODS,
    ("square", "rows"): METHODS,
    ("square", "tiles"): METHODS,
    ("condensed", "vector"): tuple(m for m in REDUCIBLE_METHODS if m != "single"),
    ("tiles", "tiles"): REDUCIBLE_METHODS,
    ("tiles", "rows"): REDUCIBLE_METHODS,
    ("data", "rows"): METHODS,
}

CASES = [
    EngineCase(engine=engine, given=given, method=method)
    for (engine, given), methods in _SERVED.items()
    for method in methods
]
