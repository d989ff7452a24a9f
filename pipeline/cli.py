"""Driver: the command ``clustergrid``."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from clustergrid.pipeline._malloc import use_one_arena
from clustergrid.pipeline.certs_command import certs_command
from clustergrid.pipeline.escapes import escape_terminal
from clustergrid.pipeline.jobs.commands import cancel_command, submit_command
from clustergrid.pipeline.monitor import Event, Listener
from clustergrid.pipeline.options import (
    RunPath,
    cluster_choice,
    cluster_options,
    debug_option,
    figure_options,
    json_option,
    make_figure,
    make_request,
    run_options,
    take_description,
)
from clustergrid.pipeline.request import RunRequest
from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import ClustergridError, IntegrityError
from clustergrid.storage.places import as_path

__all__ = ["cli", "main"]

_RUN_DIRECTORY = RunPath(exists=True, file_okay=False)
_AGAIN_SECONDS = 0.01
_SAME_WARNING_SECONDS = 2.0
_STOPPED = "the same command goes on from here"
_LONGEST_LINE = 2000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clustergrid")
@debug_option
def cli() -> None:
    """Clustered heatmaps with exact trees, of matrices that do not fit in memory."""


for _command in (certs_command, submit_command, cancel_command):
    cli.add_command(_command)


def _print_json(**entry: Any) -> None:
    print(json.dumps(entry), flush=True)


def _tell(text: str) -> None:
    """Print for people: paths, and what a run directory holds, may come from somebody else."""
    click.echo(escape_terminal(text))


def _json_listener(event: Event) -> None:
    _print_json(event=asdict(event))


def _listener(as_json: bool) -> Listener:
    from clustergrid.pipeline.display import terminal_listener

    return _json_listener if as_json else terminal_listener()


def _run_and_tell(request: RunRequest, as_json: bool) -> None:
    from clustergrid.pipeline.cluster import part_of

    with part_of(request.cluster) as drives:
        if drives:
            _drive(request, as_json)


def _drive(request: RunRequest, as_json: bool) -> None:
    from clustergrid.pipeline.run import run

    def notice(line: str) -> None:
        if as_json:
            _print_json(notice=line)
        else:
            print(escape_terminal(line), file=sys.stderr, flush=True)

    result = run(request, _listener(as_json), notice=notice)
    if as_json:
        _print_json(
            result={
                "directory": str(result.directory),
                "files": result.files,
                "seconds": round(result.seconds, 3),
            }
        )
        return
    _tell(f"finished in {result.seconds:.1f} s; results in {result.directory}:")
    for what, name in sorted(result.files.items()):
        _tell(f"  {what:<14} {result.directory / name}")


@cli.command(name="run")
@click.argument("input")
@click.option("-o", "--output", required=True, metavar="RUN", help="The run directory.")
@run_options
@cluster_options
@json_option
@debug_option
def run_command(input: str, output: str, as_json: bool, **options: Any) -> None:
    """Cluster the matrix INPUT and draw it. The same command again resumes it.

    INPUT is a path or URL: .npy, .csv and .tsv (.gz), .parquet, .h5ad, Zarr.
    """
    _run_and_tell(make_request(input, output, options), as_json)


@cli.command(name="plan")
@click.argument("input")
@click.option("-o", "--output", metavar="RUN", help="The run directory, whose disk is looked at.")
@run_options
@cluster_options
@json_option
@debug_option
def plan_command(input: str, output: str | None, as_json: bool, **options: Any) -> None:
    """Say what a run of INPUT would do and cost, without running it.

    With --workers, --cores and --memory-per-worker it is planned for such a cluster; --memory is
    then that of the driver's machine, by default as much as a worker has.
    """
    from clustergrid.pipeline.prospect import prospective_plan

    described = take_description(options)
    request = make_request(input, output or ".", options)
    planned = prospective_plan(request, described, check_disk=output is not None)
    _tell(json.dumps(planned.as_dict()) if as_json else str(planned))


@cli.command(name="plot")
@click.argument("run", type=_RUN_DIRECTORY)
@click.option("--name", default="figure", show_default=True, help="Of the file in the run.")
@figure_options
@json_option
@debug_option
def plot_command(run: str, name: str, as_json: bool, **options: Any) -> None:
    """Draw a finished RUN again, with other options."""
    from clustergrid.pipeline.drawing import plot_run

    if not re.fullmatch(r"[^/\\.][^/\\]*", name):
        raise click.BadParameter(f"{name!r} is not the name of a file", param_hint="--name")
    files = plot_run(run, make_figure(options), _listener(as_json), output=name)
    for file in files.values():
        path = str(as_path(run) / file)
        if as_json:
            _print_json(figure=path)
        else:
            _tell(path)


@cli.command(name="status")
@click.argument("run", type=_RUN_DIRECTORY)
@json_option
@debug_option
def status_command(run: str, as_json: bool) -> None:
    """Say where a RUN stands."""
    from clustergrid.pipeline.status import read_status

    status = read_status(run)
    _tell(json.dumps(status.as_dict()) if as_json else str(status))


@cli.command(name="verify")
@click.argument("run", type=_RUN_DIRECTORY)
@json_option
@debug_option
def verify_command(run: str, as_json: bool) -> None:
    """Check every byte of a RUN against its digest, and its results against their meaning.

    What is found damaged, the same `clustergrid run` again makes anew.
    """
    from clustergrid.pipeline.verify import verify_run

    report = verify_run(run, _listener(as_json))
    _tell(json.dumps(report.as_dict()) if as_json else str(report))
    if report.damages:
        n_damaged = len({damage.file for damage in report.damages})
        raise IntegrityError(
            f"{n_damaged} of the files in {run} {'is' if n_damaged == 1 else 'are'} damaged (see "
            "above): the same `clustergrid run` again makes anew what is"
        )


@cli.command(name="demo")
@click.option("-o", "--output", default="clustergrid-demo", show_default=True, metavar="RUN")
@cluster_options
@json_option
@debug_option
def demo_command(output: str, as_json: bool, memory: int | None, **options: Any) -> None:
    """Cluster a real matrix: 28,057 genes of 115 endometrial samples (CPTAC).

    In threads of this process, unless a cluster is asked for: --cluster local shows the dashboard,
    and leaves a performance report of every stage.
    """
    from clustergrid.pipeline.demo import demo_request

    if not (options["cluster"] or options["scheduler"] or options["scheduler_file"]):
        options["cluster"] = "none"
    with tempfile.TemporaryDirectory() as scratch:
        request = demo_request(
            as_path(output),
            Path(scratch) / "colors.tsv",
            memory_bytes=memory,
            cluster=cluster_choice(options),
        )
        _run_and_tell(request, as_json)


class _TerminatedError(BaseException):
    """SIGTERM, a batch system's warning; leaves through the same doors as Ctrl-C."""


class _EndError(Exception):
    """What the command ends with: one line, and its status."""

    def __init__(self, message: str | None, status: int) -> None:
        super().__init__(message)
        self.message, self.status = message, status


def main(arguments: list[str] | None = None) -> None:
    """Run the command; every failure ends with one line and a status that is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    os.environ.setdefault("MPLBACKEND", "Agg")
    # What it frees can be given back; its own allocators keep it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    use_one_arena()
    try:
        with _signals(), _warnings_of_ours(debug):
            _call(arguments, debug)
        sys.stdout.flush()
    except _EndError as failure:
        _end(failure.message, failure.status)
    except BrokenPipeError:
        _end(None, 128 + signal.SIGPIPE)


def _call(arguments: list[str], debug: bool) -> None:
    """Run the command, and turn whatever ends it into a `_EndError`."""
    try:
        # Not `cli.main`, which has ways of its own to end a program.
        with cli.make_context("clustergrid", list(arguments)) as context:
            cli.invoke(context)
    except click.exceptions.Exit as leave:
        if leave.exit_code:
            raise _EndError(None, leave.exit_code) from None
    except (click.exceptions.Abort, KeyboardInterrupt):
        raise _EndError(f"stopped; {_STOPPED}", 128 + signal.SIGINT) from None
    except _TerminatedError:
        raise _EndError(f"terminated; {_STOPPED}", 128 + signal.SIGTERM) from None
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise _EndError(None, error.exit_code) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "clustergrid"
        cause, text = error.__cause__, error.format_message()
        if type(error) is click.UsageError and isinstance(cause, ClustergridError):
            text = _explain(cause)
        message = f"{text} (see {path} --help)"
        raise _EndError(message, error.exit_code) from None
    except click.ClickException as error:
        raise _EndError(error.format_message(), error.exit_code) from None
    except BrokenPipeError:
        raise
    except BaseException as error:
        if debug or isinstance(error, SystemExit | GeneratorExit):
            raise
        raise _EndError(_explain(error), 1) from None


def _explain(error: BaseException) -> str:
    """One line about an error, in the words of the command."""
    if isinstance(error, ClustergridError):
        text = str(error)
        for python, option in _OPTIONS:
            text = re.sub(python, option, text)
        return text
    kind = type(error).__name__
    if kind == "KilledWorker":
        return (
            "a Dask worker died again and again, most likely for want of memory: give the run less "
            "(--memory) so that its tasks are smaller, or the machine more"
        )
    if "Cancelled" in kind or kind == "CommClosedError":
        return f"the Dask cluster was lost; {_STOPPED}"
    if isinstance(error, MemoryError):
        return f"out of memory: {error}; {_STOPPED}"
    return f"{kind}: {error} (run with --debug to see where)"


# What is called so in Python is called otherwise here.
_OPTIONS = (
    (r"row_cluster=False, col_cluster=False", "--no-row-cluster --no-col-cluster"),
    (r"(row|col)_cluster=False", r"--no-\1-cluster"),
    (r"cluster='none'", "--cluster none"),
    (r"dtype='(float32|float64)'", r"--dtype \1"),
    (r"memory='([^']*)'", r"--memory '\1'"),
    (r"(row|col)_engine='(\w+)'", r"--\1-engine \2"),
    (r"engine='(\w+)'", r"--engine \1"),
    (r"aggregate='(\w+)'", r"--aggregate \1"),
    (r"optimal_ordering=False", "leaving out --optimal-ordering"),
    (r"(z_score|standard_scale)=0", lambda m: f"--{m[1].replace('_', '-')} rows"),
    (r"(z_score|standard_scale)=1", lambda m: f"--{m[1].replace('_', '-')} columns"),
    (r"layer=\.\.\.", "--layer"),
    (r"(row|col)_metric_kws", r"--\1-metric-kws"),
    (r"(?<!-)metric_kws", "--metric-kws"),
)


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does; a second signal does not interrupt the clean-up."""
    warned = 0.0

    def first(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal warned
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, second)
        if number == signal.SIGTERM:
            warned = time.monotonic()
            raise _TerminatedError
        raise KeyboardInterrupt

    def second(number: int, _frame: FrameType | None) -> None:
        # A queue signals all processes of a job, and who started us passes it on.
        if number == signal.SIGTERM and time.monotonic() - warned < _SAME_WARNING_SECONDS:
            return
        # The lock of a dead process is taken over; worker processes see that we are gone.
        os._exit(128 + number)

    def swallowed(unraisable: sys.UnraisableHookArgs) -> None:
        """Send it again where a finalizer was running, out of which no exception comes."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt | _TerminatedError):
            is_interrupt = isinstance(unraisable.exc_value, KeyboardInterrupt)
            number = signal.SIGINT if is_interrupt else signal.SIGTERM
            signal.signal(number, first)
            threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
        else:
            hook(unraisable)

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _warnings_of_ours(debug: bool) -> Iterator[None]:
    """Print our own warnings as lines; those of libraries are for developers."""
    if debug:
        yield
        return
    import clustergrid.storage

    ours = (str(Path(__file__).parent), *clustergrid.storage.__path__)

    def show(
        message: Warning | str, _category: type[Warning], filename: str, *_rest: Any, **_more: Any
    ) -> None:
        if filename.startswith(ours):
            print(f"clustergrid: warning: {_one_line(str(message))}", file=sys.stderr, flush=True)

    # distributed sets the levels of its loggers when it is imported; this holds nevertheless.
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        # matplotlib lays it at the door of whoever draws a label its font cannot show.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        warnings.showwarning = show  # type: ignore[assignment]
        try:
            yield
        finally:
            logging.disable(disabled)


def _one_line(text: str) -> str:
    """Make one line of it, of bounded length, that a terminal shows as it is.

    Names and cells of somebody else's file are quoted in messages, and may hold escape sequences.
    """
    line = hide_credentials(" ".join(text.split()))
    if len(line) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        line = f"{line[:half]} [...] {line[-half:]}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line
    )


def _end(message: str | None, status: int) -> NoReturn:
    """Leave with a status; nobody may be reading any more."""
    # Reads of other chunks that are under way as one fails, or were to come, are told of when the
    # interpreter ends.
    atexit.register(logging.disable, logging.CRITICAL)
    atexit.register(warnings.simplefilter, "ignore")
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr and message is not None:
                print(f"clustergrid: {_one_line(message)}", file=stream)
            stream.flush()
        except BrokenPipeError:
            # The interpreter flushes once more as it ends, and would complain.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
