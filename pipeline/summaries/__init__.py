"""Driver: trees of linkages whose clusters are summed up by a mean and a scalar, from rows."""
