"""Data that ships with the package; `clustergrid.storage.datasets` loads it."""
