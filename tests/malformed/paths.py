"""Inputs that are no files, and run directories where none can be."""

import os
import socket
from pathlib import Path

import numpy as np
import zarr

from .case import Case, both, frame, numbers


def csv(folder: Path, name: str = "b.csv") -> None:
    frame().to_csv(folder / name)


def pipe(name):
    return lambda folder: os.mkfifo(folder / name)


def unix_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("b.csv")  # a short name: of the working directory


def link(name, target):
    return lambda folder: (folder / name).symlink_to(target)


def array(folder: Path) -> None:
    zarr.create_array(str(folder / "b.zarr"), data=numbers(), chunks=(6, 5))


def group(folder: Path) -> None:
    made = zarr.create_group(str(folder / "b.zarr"))
    made.create_array("x", data=numbers(), dimension_names=("a", "b"))


def array_with_pipe(folder: Path) -> None:
    array(folder)
    chunk = folder / "b.zarr/c/0/0"
    chunk.unlink()
    os.mkfifo(chunk)


def array_with_loop(folder: Path) -> None:
    array(folder)
    chunk = folder / "b.zarr/c/0/0"
    chunk.unlink()
    chunk.symlink_to(chunk)


def array_with_dangling_link(folder: Path) -> None:
    array(folder)
    (folder / "b.zarr/c/1/0").unlink()
    (folder / "b.zarr/c/1/0").symlink_to("nowhere")


def thesis(folder: Path) -> None:
    """A directory of somebody else."""
    (folder / "run").mkdir()
    (folder / "run/thesis.tex").touch()


def named(name, input, says, *writes, **more):
    return Case(name=f"path-{name}", input=input, says=says, write=both(*writes), **more)


def of_output(name, output, says, *writes, **more):
    return Case(
        name=f"output-{name}", input="b.csv", output=output, says=says, write=both(csv, *writes),
        **more,
    )  # fmt: skip


MISSING = r"no such file or directory: .*"
NOT_OPEN = "(no such file or directory: |cannot open )"

CASES = [
    named("missing", "b.csv", MISSING + r"b\.csv"),
    named("missing-zarr", "b.zarr", MISSING + r"b\.zarr"),
    named("missing-folder", "no/b.csv", MISSING + r"no/b\.csv"),
    named("in-a-file", "b.csv/c.csv", r"(no such file|Not a directory).*b\.csv/c\.csv", csv),
    named("empty", "", "'' is not a path"),
    named("standard-input", "-", MISSING + "/-"),
    named("nobody's-home", "~nobody-of-this-name/b.csv", MISSING + "~nobody-of-this-name"),
    named("pipe", "b.csv", r"b\.csv is a pipe, not a regular file", pipe("b.csv")),
    named("pipe-npy", "b.npy", r"b\.npy is a pipe", pipe("b.npy")),
    named("pipe-parquet", "b.parquet", r"b\.parquet is a pipe", pipe("b.parquet")),
    named("pipe-h5ad", "b.h5ad", r"b\.h5ad is a pipe", pipe("b.h5ad")),
    named("pipe-zarr", "b.zarr", r"b\.zarr is a pipe", pipe("b.zarr")),
    named("pipe-behind-a-link", "b.csv", r"b\.csv is a pipe", pipe("c"), link("b.csv", "c")),
    named("pipe-as-chunk", "b.zarr", r"b\.zarr/c/0/0 is a pipe", array_with_pipe),
    named("device-zero", "/dev/zero", "/dev/zero is a device"),
    named("device-zero-called-csv", "b.csv", r"b\.csv is a device", link("b.csv", "/dev/zero")),
    named("device-random-called-npy", "b.npy", r"b\.npy is a device", link("b.npy", "/dev/random")),
    named("device-full", "b.csv", r"b\.csv is a device", link("b.csv", "/dev/full")),
    named("socket", "b.csv", r"b\.csv is a socket", unix_socket),
    named("directory", "b", r"b is a directory without Zarr's metadata",
          lambda f: (f / "b").mkdir()),
    named("directory-called-csv", "b.csv", r"b\.csv is a directory without",
          lambda f: (f / "b.csv").mkdir()),
    named("directory-called-npy", "b.npy", r"b\.npy is a directory",
          lambda f: (f / "b.npy").mkdir()),
    named("directory-called-h5ad", "b.h5ad", r"b\.h5ad is a directory",
          lambda f: (f / "b.h5ad").mkdir()),
    named("file-called-zarr", "b.zarr", r"b\.zarr", lambda f: csv(f, "b.zarr")),
    named("root", "/", "is a directory without|in the other"),
    named("link-in-a-circle", "b.csv", r"b\.csv", link("b.csv", "c.csv"), link("c.csv", "b.csv")),
    named("link-to-nothing", "b.csv", MISSING + r"b\.csv", link("b.csv", "c.csv")),
    named("zarr-link-in-a-circle", "b.zarr", r"cannot read .*b\.zarr/c/0/0", array_with_loop),
    named("zarr-link-to-nothing", "b.zarr", r"cannot read .*b\.zarr/c/1/0",
          array_with_dangling_link),
    named("name-of-300-characters", "b" * 300 + ".csv", "File name too long|no such file"),
    named("path-of-100-000-characters", "b/" * 50_000 + "b.csv",
          r"^.{1000,1100} \[\.\.\.\] .{900,}b\.csv.?$"),
    named("newline-in-the-name", "b\nc.csv", r"no such file or directory: .*b c\.csv"),
    named("escape-sequence-in-the-name", "\x1b]0;title\x07\x1b[2Jb.csv",
          r"no such file or directory: .*\\x1b\]0;title\\x07\\x1b\[2Jb\.csv"),
    named("right-to-left-mark-in-the-name", "b\u202evsc.csv", r"b\\u202evsc\.csv"),
    named("not-unicode", os.fsdecode(b"b\xff.csv"), r"no such file or directory: .*b\\udcff\.csv"),
    named("nul-in-the-name", "b\0.csv", r"'b\\x00\.csv' is not a path", in_process=True),
    named("file-url-missing", "file:///nowhere/b.csv", MISSING + r"/nowhere/b\.csv"),
    named("file-url-of-another-host", "file://host.invalid/b.csv", r"host\.invalid/b\.csv"),
    named("file-url-climbing", "file:///../../../b.csv", MISSING + r"b\.csv"),
    named("file-url-of-a-pipe", "local://b.csv", r"b\.csv is a pipe", pipe("b.csv")),
    named("scheme-unknown", "foo://b.csv", "cannot open foo://b.csv: .*foo"),
    named("scheme-empty", "://b.csv", MISSING + "://b.csv"),
    named("scheme-in-capitals", "FILE:///b.csv", "cannot open FILE:///b.csv|no such file"),
    named("scheme-without-a-package", "smb://host/b.csv", "cannot open smb://host/b.csv.*smb"),
    named("scheme-data", "data:text/csv;base64,QQ==", "no such file|cannot open|is not one of"),
    named("scheme-javascript", "javascript://%0aalert(1)/b.csv", "cannot open javascript://"),
    named("http-nobody-listens", "http://127.0.0.1:9/b.csv",
          NOT_OPEN + "http://127"),
    named("http-without-a-host", "http:///b.csv", NOT_OPEN + "http:"),
    named("memory-missing", "memory://nothing/b.csv", MISSING + "memory://nothing/b.csv"),
    named("memory-zarr-missing", "memory://nothing/b.zarr", MISSING + "memory://nothing/b.zarr"),
    named("chain-of-a-missing-archive", "zip://b.csv::c.zip", NOT_OPEN + r".*c\.zip"),
    named("chain-of-no-archive", "zip://b.csv::b.csv", "cannot open zip://.*::b.csv", csv),
    named("chain-of-nothing", "::", MISSING + "::"),
    named("layer-climbs", "b.zarr", r"b\.zarr has no matrix '\.\./\.\./etc'; it has 'x'", group,
          options=("--layer", "../../etc")),
    named("in-its-own-run", "run/b.csv", "one is in the other",
          lambda f: (f / "run").mkdir(), lambda f: csv(f, "run/b.csv")),
    named("is-its-own-run", "b.zarr", "are one directory", array, output="b.zarr"),
    named("run-inside", "b.zarr", "one is in the other", array, output="b.zarr/run"),
    named("run-inside-by-a-link", "b.zarr", "one is in the other", array, link("c", "b.zarr"),
          output="c/run"),
    of_output("is-a-file", "file", "it is a file", lambda f: (f / "file").touch()),
    of_output("in-a-file", "file/run", "cannot make the run directory file/run",
              lambda f: (f / "file").touch()),
    of_output("is-a-pipe", "pipe", "pipe", pipe("pipe")),
    of_output("is-a-device", "/dev/null", "/dev/null"),
    of_output("in-proc", "/proc/run", "cannot make the run directory /proc/run"),
    of_output("is-a-link-in-a-circle", "loop", "loop", link("loop", "loop")),
    of_output("is-a-link-to-nothing", "dangling/run/x", "dangling|one is in",
              link("dangling", "/proc/nowhere")),
    of_output("name-too-long", "r" * 300, "cannot make the run directory rrr.*too long"),
    of_output("empty", "", "holds other files|one is in the other|run directory"),
    of_output("nul", "r\0n", r"cannot make the run directory r\\x00n", in_process=True),
    of_output("is-a-url", "hdfs://bucket/run", "run directory.*(URL|local)"),
    of_output("of-somebody-else", "run", "holds other files", thesis),
    of_output("of-another-format", "run", "has format 0", lambda f: (f / "run").mkdir(),
              lambda f: (f / "run/run.json").write_text('{"format": 0, "stages": {}}')),
    of_output("state-is-no-json", "run", r"run\.json", lambda f: (f / "run").mkdir(),
              lambda f: (f / "run/run.json").write_text("{")),
    of_output("state-is-a-list", "run", r"run\.json|not a run directory|has format",
              lambda f: (f / "run").mkdir(),
              lambda f: (f / "run/run.json").write_text("[1]")),
    of_output("state-is-a-directory", "run", r"run\.json", lambda f: (f / "run").mkdir(),
              lambda f: (f / "run/run.json").mkdir()),
    named("npy-run-inside-nothing", "b.npy", r"b\.npy has shape \(3,\)",
          lambda f: np.save(f / "b.npy", np.zeros(3)), output="new/run"),
]  # fmt: skip
