"""Driver: trees of complete, average and weighted linkage straight from rows, by any metric."""
