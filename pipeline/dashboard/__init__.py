"""Driver: how people watch a run that is on a Dask cluster.

================  ==========================================================================
module            what it does
================  ==========================================================================
``watching.py``   puts the others together, in the driver: `watch_run`
``events.py``     sends what happens to the scheduler, a few messages a second
``reports.py``    keeps a performance report of every stage
``address.py``    says where the dashboard is, and how to get there
``thumbnail.py``  makes a small picture of a large one
``plugin.py``     hears the messages, in the scheduler's process
``runs.py``       remembers what was heard
``page.py``       shows it, at ``/clustergrid`` of Dask's dashboard, in the words of ``markup.py``
``gauges.py``     shows it to Prometheus, at ``/metrics``
================  ==========================================================================

Nothing flows back: a run is the same whether anybody watches it or not.
"""
