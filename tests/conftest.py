"""What holds for every test."""

import sys


def pytest_runtest_teardown():
    # Tests share a process in an order that depends on how many there are, and some ask whether a
    # figure was left open.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
