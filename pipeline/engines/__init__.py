"""Driver: the engines that compute the distances of one tile, and their kernels."""
