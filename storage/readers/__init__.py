"""One file a format: what a path or URL holds, as blocks of a matrix.

A format can do one of two things, and each reader says which by what it returns::

    random access   .npy, .h5ad (dense, CSR), Zarr    RandomAccess  blocks are read where they are
    only a stream   .csv, .tsv, .parquet, .h5ad (CSC) Stream        blocks come once, in order

`clustergrid.storage.matrix` makes a lazy matrix of the first as it is, and writes the second to a
Zarr array first. A reader never holds more than a few blocks of a file, and opening one reads
labels and shapes but no values.

``table.py`` is the table of suffixes; ``base.py`` says what a reader returns; ``location.py``
knows files and URLs; ``chunking.py`` is the arithmetic of block sizes.
"""
