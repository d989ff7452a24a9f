"""Driver: what the job of a driver runs: the driver, in a process of its own, and what follows.

::

    python -m clustergrid.pipeline.jobs.supervise slurm RUN/jobs -- run INPUT -o RUN ...
    python -m clustergrid.pipeline.jobs.supervise --run s3://lab/RUN slurm FOLDER -- run ...

It passes on what the queue signals, notes how the driver ended, and sends the job back into the
queue if its walltime was over: then the run goes on where it stopped. A run that failed would fail
again, and stays. So does one that is stopped again and again and never has more to keep.

====================  =============================================================
signal                means
====================  =============================================================
USR1, or the clock    the walltime is almost over: stop, and go back into the queue
TERM, INT, USR2       somebody cancelled the job, or the node is wanted: stop
====================  =============================================================
"""

from __future__ import annotations

import argparse
import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from clustergrid.pipeline.jobs.folder import JOBS_VARIABLE, jobs_folder
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.queues import REQUEUE_STATUS, Queue, is_active
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.storage.errors import ClustergridError
from clustergrid.storage.places import StorePath, as_path, files_below
from clustergrid.storage.runlock import holder_of, release_lock

__all__ = ["MOST_FRUITLESS", "main", "progress_mark", "supervise"]

MOST_FRUITLESS = 3
"""So many attempts in a row may be stopped by the walltime with nothing new to keep."""

_WALLTIME = (signal.SIGUSR1, signal.SIGALRM)
_CANCELLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_LOOK_SECONDS = 10.0
_COMMAND = (sys.executable, "-m", "clustergrid.pipeline.cli")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the driver as the command line says; return the exit status of the job."""
    parser = argparse.ArgumentParser(prog="clustergrid.pipeline.jobs.supervise")
    parser.add_argument("queue", choices=sorted(QUEUES_BY_WORD))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-after", type=int, default=0, metavar="SECONDS")
    parser.add_argument("--run", metavar="URL", help="of one in a bucket; FOLDER is elsewhere then")
    parser.add_argument("words", nargs="+")
    asked = parser.parse_args(arguments)
    queue = QUEUES_BY_WORD[asked.queue]
    directory: StorePath = asked.folder.parent
    if asked.run is not None:
        directory = as_path(asked.run)
        # Whatever a node takes for this user's home; the driver's workers write there, too.
        os.environ[JOBS_VARIABLE] = str(asked.folder.parent)
    return supervise(
        queue, directory, [*_COMMAND, *asked.words], stop_after_seconds=asked.stop_after
    )


def supervise(
    queue: Queue, directory: StorePath, command: Sequence[str], *, stop_after_seconds: int = 0
) -> int:
    """Run the driver of a run directory, and send the job back if the walltime stopped it.

    Parameters
    ----------
    queue
        Whose job this is.
    directory
        The run directory.
    command
        The driver's.
    stop_after_seconds
        When the walltime is almost over, by the clock; 0: the queue says.

    Returns
    -------
    int
        Exit status of the job.
    """
    before = Attempt.read(directory)
    job = os.environ.get(queue.number_variable, "")
    _release_lock(queue, directory, before, job)
    mark = _mark(directory)
    driver, stops = _start(command, stop_after_seconds)
    attempt = Attempt(
        attempt=1 if before is None else before.attempt + 1,
        job=job,
        host=socket.gethostname(),
        pid=driver.pid,
        started=round(time.time(), 3),
        fruitless=0 if before is None or before.state != "requeued" else before.fruitless,
    )
    attempt.write(directory)
    _say(f"attempt {attempt.attempt} on {attempt.host}: job {job} of {queue.word}")
    code = _wait(driver)
    status = 128 - code if code < 0 else code
    ended = replace(attempt, ended=round(time.time(), 3), exit_status=status, state="ended")
    if not (stops.walltime and not stops.cancelled and status == 128 + signal.SIGTERM):
        why = stops.why or _why(code)
        replace(ended, why=why).write(directory)
        _say(f"the driver ended with exit status {status}{why and ': '}{why}")
        return status
    now = _mark(directory)
    # What nobody can see is not counted on: the job would go back for ever.
    has_more = None not in (mark, now) and now != mark
    fruitless = 0 if has_more else attempt.fruitless + 1
    if fruitless >= MOST_FRUITLESS:
        why = (
            f"its walltime was over {fruitless} times with nothing new to keep: give the job more "
            "(--driver-walltime), and submit it again"
        )
        replace(ended, why=why, fruitless=fruitless).write(directory)
        _say(why)
        return status
    replace(ended, why=stops.why, fruitless=fruitless, state="requeued").write(directory)
    return _go_back(queue, directory, job, status)


@dataclass(slots=True)
class _Stops:
    """What was signalled while the driver ran."""

    walltime: bool = False
    cancelled: bool = False
    _told: bool = field(default=False, repr=False)

    @property
    def why(self) -> str:
        """Say it in words."""
        if self.cancelled:
            return "cancelled"
        return "its walltime was over" if self.walltime else ""

    def note(self, number: int, driver: subprocess.Popen[bytes]) -> None:
        """Note a signal, and stop the driver, once: a second signal would not let it tidy up."""
        self.walltime |= number in _WALLTIME
        self.cancelled |= number in _CANCELLED
        if not self._told:
            self._told = True
            driver.terminate()


def _start(
    command: Sequence[str], stop_after_seconds: int
) -> tuple[subprocess.Popen[bytes], _Stops]:
    """Start the driver, and pass on what this process is signalled."""
    # Some queues signal all processes of a job: the driver leaves these to us.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    driver = subprocess.Popen(list(command), stdin=subprocess.DEVNULL)
    stops = _Stops()

    def stop(number: int, _frame: FrameType | None) -> None:
        stops.note(number, driver)

    for each in (*_WALLTIME, *_CANCELLED):
        signal.signal(each, stop)
    signal.alarm(max(0, stop_after_seconds))
    return driver, stops


def _wait(driver: subprocess.Popen[bytes]) -> int:
    """Wait for the driver, and let what is signalled be noted meanwhile.

    A signal may reach a thread of a library, and then it interrupts no call of this one. So each
    also writes a byte, and we wait for these.
    """
    heard, told = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(told, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(told)
    while (code := driver.poll()) is None:
        if select.select([heard], [], [], _LOOK_SECONDS)[0]:
            os.read(heard, 4096)
    return code


def _go_back(queue: Queue, directory: StorePath, job: str, status: int) -> int:
    """Send the job back into the queue; return the exit status that this takes."""
    # Taking the job from its node is how some queues do this.
    for each in _CANCELLED:
        signal.signal(each, signal.SIG_IGN)
    _say(f"the walltime is over: job {job} goes back into the queue, and the run goes on from here")
    if queue.goes_back == "status":
        return REQUEUE_STATUS
    try:
        if queue.goes_back == "asks":
            queue.ask(queue.requeue_words(job))
            return status
        record = DriverRecord.read(directory)
        script = jobs_folder(directory) / f"driver.{queue.suffix}"
        number = queue.submit(script)
        if record is not None:
            replace(record, number=number, submitted=round(time.time(), 3)).write(directory)
    except ClustergridError as error:
        attempt = Attempt.read(directory)
        if attempt is not None:
            why = f"its walltime was over, and it could not be queued again: {error}"
            replace(attempt, state="ended", why=why).write(directory)
        _say(f"submit it again: {error}")
    return status


def _release_lock(queue: Queue, directory: StorePath, before: Attempt | None, job: str) -> None:
    """Take the directory from an attempt whose node was lost with it.

    A process of another host may live, for all that a lock can tell; but if the queue does not run
    its job any more, nothing of it does.
    """
    if before is None:
        return
    try:
        holder = holder_of(directory)
        if holder is None or (holder.host, holder.pid) != (before.host, before.pid):
            return
        if before.job != job and any(map(is_active, queue.find([before.job], []))):
            return
        _say(
            f"process {holder.pid} on {holder.host}, of an attempt that is over, gives its lock up"
        )
        release_lock(directory, holder)
    except ClustergridError as error:  # of the queue, or of a store: the driver finds the lock
        _say(str(error))


def progress_mark(directory: StorePath) -> str:
    """Digest of what a run directory keeps for the next attempt.

    It is another one as soon as a chunk, a piece or a record is kept that was not before. What the
    run is doing, when it began and which stages it looked at are not in it.

    Raises
    ------
    ObjectStoreError
        It is in a bucket that cannot be asked.
    """
    digest = hashlib.sha256()
    for folder in ("manifest", "pieces"):
        for name, size in sorted(files_below(directory / folder)):
            if not name.rpartition("/")[2].startswith("."):
                digest.update(f"{folder}/{name}\0{size}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def _mark(directory: StorePath) -> str | None:
    """Say what is kept; None of a bucket that cannot be asked, which is no end of a job."""
    try:
        return progress_mark(directory)
    except ClustergridError as error:
        _say(str(error))
        return None


def _why(code: int) -> str:
    if code == -signal.SIGKILL:
        return (
            "killed, most likely for want of memory: give the job more (--driver-memory), and "
            "submit it again"
        )
    return f"ended by signal {-code}" if code < 0 else ""


def _say(line: str) -> None:
    print(f"clustergrid: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
