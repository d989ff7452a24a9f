"""Driver: is a run what it says it is? Every stored byte, and what every result means.

Bytes are compared with the digests that were noted as they were written. Meaning is checked
against SciPy and against the matrix, in samples drawn from a fixed seed: a bit may be as it was
written, and written wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.intake import describe_input
from clustergrid.pipeline.meaning import Meaning, found_by
from clustergrid.pipeline.monitor import Listener, Progress
from clustergrid.pipeline.request import RunRequest
from clustergrid.pipeline.withdrawal import withdraw
from clustergrid.storage.places import AnyPlace
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import Damage, noted_bytes, unknown_files, verify_bytes

__all__ = ["VerifyReport", "verify_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was found in a run directory.

    Attributes
    ----------
    directory
        The run directory.
    n_files, n_bytes
        How much was read and compared with its digest.
    checks
        What else was checked, in words.
    unchecked
        Why the meaning of results was not looked at; empty where it was.
    damages
        What is not as it was written, or does not mean what it should.
    unknown
        Files that the run did not note; they harm nothing.
    """

    directory: str
    n_files: int
    n_bytes: int
    checks: tuple[str, ...]
    unchecked: str
    damages: tuple[Damage, ...]
    unknown: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return lines for people."""
        lines = [f"{self.n_files:,} files, {self.n_bytes:,} bytes compared with their digests"]
        lines += [f"checked: {check}" for check in self.checks]
        lines += [f"what results mean was not checked: {self.unchecked}"] if self.unchecked else []
        lines += [f"not of this run: {name}" for name in self.unknown]
        lines += dict.fromkeys(str(damage) for damage in self.damages)
        return "\n".join(lines)


def verify_run(path: AnyPlace, *listeners: Listener) -> VerifyReport:
    """Check every stored byte of a run, and what its results mean.

    What is damaged is withdrawn: the next run of the same command makes just that again. Of what
    does not mean what it should, everything that was made from it is withdrawn too.

    Parameters
    ----------
    path
        The run directory.
    *listeners
        Called with every progress event.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, its ``run.json`` is damaged, or a process is at work in it.
    StorageError
        The input, which the run uses in place, cannot be read.
    """
    directory = RunDirectory(path)
    with directory.locked():
        progress = Progress(*listeners)
        total = noted_bytes(directory)
        with progress.stage("verify-bytes", total=total, unit="bytes") as stage:
            damages, n_files = verify_bytes(
                directory, threads=available_cores(), progress=stage.advance
            )
        checks: list[str] = []
        unchecked = "" if "finished" in directory.state else "the run is not finished"
        unchecked = "files are damaged" if damages else unchecked
        if not unchecked and directory.state["matrix"]["used_in_place"]:
            checks.append("the input")
            damages = _changed_input(directory)
            unchecked = "the input is another one" if damages else ""
        if not unchecked:
            for check in Meaning(directory, progress).checks():
                name = check.name.replace(" ", "-")
                with progress.stage(f"verify-{name}", total=1, unit="checks"):
                    damages += found_by(check, directory)
                checks.append(check.name)
        unknown = unknown_files(directory)
        if damages:
            withdraw(directory, damages)
    return VerifyReport(
        directory=str(path),
        n_files=n_files,
        n_bytes=total,
        checks=tuple(checks),
        unchecked=unchecked,
        damages=tuple(damages),
        unknown=tuple(unknown),
    )


def _changed_input(directory: RunDirectory) -> list[Damage]:
    """Compare the input that is used in place with the one that the results are of."""
    asked = directory.state["request"]
    request = RunRequest(input=asked["input"], directory=directory.path, layer=asked["layer"])
    if describe_input(request) == directory.state["input"]:
        return []
    return [Damage(file=asked["input"], what="is not what it was for the run", stage="matrix")]
