"""Where a command runs: one word chooses.

======================================  ========================================================
word                                    what is started
======================================  ========================================================
``local``                               worker processes on this machine
``none``                                nothing: threads of this process
``slurm sge pbs lsf htcondor``          jobs of a queue, each with worker processes
``allocation``                          workers on all nodes of the Slurm job that this runs in
``mpi``                                 nothing: `mpirun` started all processes already
``kubernetes``                          pods, by Dask's operator
a preset                                what it says, see `presets.py`
======================================  ========================================================

`choice.py` is what was asked; `resolve.py` makes it of options, presets and the environment, once;
`clustergrid.pipeline.cluster.connect` starts it. Every scheduler but that of Kubernetes and MPI is
in the driver's process. Queues and allocations start workers by `worker_process.py`; `watch.py`
asks for those again that are lost.
"""
