"""What the tests of plans share: shapes, memories, specifications, and how a refusal is taken."""

from hypothesis import strategies as st

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.spec import AxisSpec, RunSpec

shapes = st.tuples(st.integers(2, 300_000), st.integers(1, 300_000))
memories = st.integers(10**6, 10**13)
threads = st.integers(1, 64)
specs = st.builds(
    RunSpec,
    row=st.builds(AxisSpec, cluster=st.booleans(), dtype=st.sampled_from(["float32", "float64"])),
    column=st.builds(
        AxisSpec, cluster=st.booleans(), dtype=st.sampled_from(["float32", "float64"])
    ),
)
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
