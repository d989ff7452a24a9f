"""A run whose driver is itself a job of a batch queue, so that the user may log off.

::

    login node                        node of the queue
    ──────────                        ─────────────────
    submit ──▶ jobs/driver.sh ──────▶ supervise ──▶ clustergrid run ──▶ jobs of workers
               jobs/driver.json       jobs/attempt.json   (another process)
    status, cancel ◀── queue, by number and by name

`queues.py` is what all queues can be asked for, and each queue has a file: its directives, and how
its answers are read. `script.py` renders, `submission.py` submits, `supervise.py` runs inside the
job and decides whether it goes back into the queue; `record.py` is what they leave for one another
in the run's folder of jobs, and `folder.py` says where that is.
"""
