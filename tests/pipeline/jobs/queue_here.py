"""A queue that is called as Slurm is, and starts its jobs on this machine: no daemons, no root.

What `install` makes are programs that run this very file. Jobs wait while there is a file `hold`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")


def install(folder: Path) -> Path:
    """Make the programs of a queue without jobs; return the folder to be put into ``PATH``."""
    folder.mkdir()
    for command in COMMANDS:
        program = folder / command
        program.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, runpy, sys\n"
            f"main = runpy.run_path({__file__!r})['main']\n"
            f"sys.exit(main(pathlib.Path(__file__).parent, {command!r}, sys.argv[1:]))\n"
        )
        program.chmod(0o700)
    return folder


class Job:
    """A job, kept in a folder that has its number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, folder.name

    def text(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    @property
    def process(self) -> int:
        return int(self.text("process") or 0)

    @property
    def is_running(self) -> bool:
        try:
            # A process that nobody waits for stays, as a zombie.
            state = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return bool(self.process) and state != "Z"

    @property
    def word(self) -> str:
        if self.is_running:
            return "RUNNING"
        if (self.folder / "cancelled").exists():
            return "CANCELLED"
        return "COMPLETED" if self.process and self.text("waits") == "" else "PENDING"

    def start(self) -> None:
        script = self.text("script")
        out = re.search(r"#SBATCH (?:--output=|-o )(\S+)", script)
        where = Path(self.text("submitted from"))
        log = where / (out[1].replace("%J", self.number) if out else "log.txt")
        with log.open("ab") as stream:
            started = subprocess.Popen(
                ["bash", self.folder / "script"],
                cwd=where,
                env=os.environ | {"SLURM_JOB_ID": self.number},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        (self.folder / "process").write_text(str(started.pid))
        (self.folder / "waits").unlink(missing_ok=True)


def main(home: Path, command: str, words: list[str]) -> int:
    jobs = [Job(folder) for folder in sorted(home.glob("[0-9]*"), key=lambda each: int(each.name))]
    if command == "sbatch":
        sbatch(home, Path(words[-1]))
    elif command == "scancel":
        for job in jobs:
            if job.number in words:
                (job.folder / "cancelled").touch()
                if job.is_running:
                    os.killpg(job.process, signal.SIGTERM)
    elif command == "squeue":
        return squeue(jobs, words)
    elif words[0] == "requeue":
        job = Job(home / words[1])
        (job.folder / "waits").write_text("to start again")
        again = [sys.executable, __file__, str(job.folder)]  # when it is gone, and so are we
        quiet = subprocess.DEVNULL
        subprocess.Popen(again, start_new_session=True, stdout=quiet, stderr=quiet)
    return 0


def sbatch(home: Path, script: Path) -> None:
    number = 1
    while True:
        try:
            (home / str(number)).mkdir()
            break
        except FileExistsError:  # of a job that was submitted before, or just now
            number += 1
    job = Job(home / str(number))
    shutil.copy(script, job.folder / "script")
    (job.folder / "submitted from").write_text(os.getcwd())
    (job.folder / "waits").write_text("for its turn")
    if not (home / "hold").exists():
        job.start()
    print(number)


def squeue(jobs: list[Job], words: list[str]) -> int:
    asked = dict(word.split("=", 1) for word in words if "=" in word)
    names, numbers = asked.get("--name", "").split(","), asked.get("--jobs", "").split(",")
    found = 0
    for job in jobs:
        name = re.search(r"#SBATCH (?:--job-name=|-J )(\S+)", job.text("script"))
        if name and (name[1] in names or job.number in numbers):
            reason = "Held" if job.word == "PENDING" else "None"
            print(f"{job.number}|{job.word}|here|N/A|{reason}|{name[1]}")
            found += 1
    if "--jobs" in asked and not found:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        return 1
    return 0


def start_again(job: Job) -> None:
    while job.is_running:
        time.sleep(0.1)
    if not (job.folder / "cancelled").exists():
        job.start()


if __name__ == "__main__":
    start_again(Job(Path(sys.argv[1])))
