"""Driver: how people watch a run that is on a Dask cluster."""
