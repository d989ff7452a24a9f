"""Malformed inputs, made by a generator: a module a kind of input, each a list of named cases.

``case.py`` says what a case is. ``text.py``, ``npy.py``, ``parquet.py``, ``h5ad.py``,
``zarr_metadata.py`` and ``zarr_chunks.py`` write matrices that are none; ``paths.py`` names what
is no file; ``tables.py`` writes tables of colours and trees; ``options.py`` gives options that
cannot be. ``flips.py`` alters bytes of valid files. ``odd.py`` is the opposite: what looks wrong
and is right.
"""
