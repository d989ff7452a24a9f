"""What the tests of plans share: shapes, memories, specifications, and how a refusal is taken."""

from hypothesis import strategies as st

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.spec import AxisSpec, RunSpec

shapes = st.tuples(st.integers(2, 300_000), st.integers(1, 300_000))
memories = st.integers(10**6, 10**13)
threads = st.integers(1, 64)
axes = st.builds(
    AxisSpec,
    cluster=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    engine=st.sampled_from([None, "square", "tiles", "data"]),
)
specs = st.builds(RunSpec, row=axes, column=axes)
distances = RunSpec(row=AxisSpec(engine="square"), column=AxisSpec(engine="square"))
"""Of trees that are made of the square of all distances, however many these are."""
ways = st.fixed_dictionaries(
    {"in_memory": st.booleans(), "ingest": st.booleans(), "trees": st.booleans()}
)


def refusal(function):
    """Return the MemoryLimitError that a call raises, None where it raises nothing."""
    try:
        function()
    except MemoryLimitError as error:
        return error
    return None
