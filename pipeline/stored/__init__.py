"""Driver: trees of distances at rest that do not fit the memory.

::

    tiles ──lists.py: tasks──▶ lists of each tile, merged into those of the K nearest points
    tiles ──regions.py: threads──▶ regions of the matrix ──▶ totals of clusters: rows, pairs, square

`source.py` is what rounds of merges ask, `memory.py` says what fits, `tree.py` drives.
"""
