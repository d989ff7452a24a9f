"""What a linkage matrix says, and what can be made of it: orders, clusters, distances, text.

Nothing recurses and nothing keeps a stack: a cluster is made after those it merges, so one loop
up the rows of the linkage knows every subtree before the tree above it, and one loop down knows
where a tree stands before those below it. A chain of a million leaves is no deeper than any other.
"""
