"""Driver: the commands that submit a run, and that cancel it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from clustergrid.pipeline.clusters.choice import parse_walltime
from clustergrid.pipeline.escapes import escape_terminal
from clustergrid.pipeline.options import (
    RunPath,
    cluster_options,
    debug_option,
    json_option,
    make_request,
    run_options,
)
from clustergrid.pipeline.sizes import parse_bytes
from clustergrid.storage.places import as_path

__all__ = ["cancel_command", "submit_command"]

_WORDS = "clustergrid.words"
_OURS = (
    "driver_cores", "driver_memory", "driver_walltime", "driver_queue", "driver_job_extra",
    "dry_run", "as_json",
)  # fmt: skip


def _tell(text: str) -> None:
    click.echo(escape_terminal(text))


def _bytes(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _walltime(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_walltime(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


class _SubmitCommand(click.Command):
    """A command that remembers the words it was given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, after words that `clustergrid run` shall be given were put aside."""
        ctx.meta[_WORDS] = words_of_run(self, ctx, args)
        return super().parse_args(ctx, args)


def words_of_run(command: click.Command, context: click.Context, words: list[str]) -> list[str]:
    """Leave out of the words of `submit` what `run` does not know.

    They are taken as they were typed: what they become here may depend on this machine.
    """
    values, _, _ = command.make_parser(context).parse_args(list(words))
    options, arguments = [], []
    for parameter in command.params:
        name = str(parameter.name)
        if name in _OURS or name not in values:
            continue
        given = values[name]
        if isinstance(parameter, click.Argument):
            arguments.append(given)
        elif isinstance(parameter, click.Option):
            options += _option_words(parameter, given)
    return [*options, "--", *filter(None, arguments)]


def _option_words(option: click.Option, given: Any) -> list[str]:
    """Write an option as a command line has it."""
    if option.is_flag:
        return [(option.opts if given else option.secondary_opts)[-1]]
    words: list[str] = []
    name = max(option.opts, key=len)
    for each in given if option.multiple else [given]:
        words += [name, *([each] if isinstance(each, str) else each)]
    return words


_driver_options = (
    click.option("--driver-cores", type=click.IntRange(1), default=2, show_default=True,
                 metavar="N", help="Of the job of the driver, which makes trees and the picture."),
    click.option("--driver-memory", callback=_bytes, metavar="SIZE",
                 help="Of that job; by default a quarter more than --memory, or 10GB."),
    click.option("--driver-walltime", callback=_walltime, metavar="TIME",
                 help="Of that job, as 24:00:00; by default as --walltime. When it is almost over, "
                 "the run stops, and goes on when the queue starts it again (unless it was stopped "
                 "three times with nothing new to keep)."),
    click.option("--driver-queue", metavar="NAME", help="Of that job; by default as --queue."),
    click.option("--driver-job-extra", multiple=True, metavar="DIRECTIVE",
                 help="A line of that job's script, without #SBATCH or the like; may be given "
                 "again."),
    click.option("--dry-run", is_flag=True, help="Print the scripts, and submit nothing."),
)  # fmt: skip


def _apply(command: Any) -> Any:
    for option in reversed(_driver_options):
        command = option(command)
    return command


@click.command(name="submit", cls=_SubmitCommand)
@click.argument("input")
@click.option("-o", "--output", required=True, metavar="RUN", help="The run directory.")
@_apply
@run_options
@cluster_options
@json_option
@debug_option
@click.pass_context
def submit_command(
    context: click.Context, /, input: str, output: str, as_json: bool, **options: Any
) -> None:
    """Submit a run as a job of a queue: what `run` is told, and you may log off.

    The driver is a job, its workers are further jobs: --cluster slurm, sge, pbs, lsf or htcondor.
    `clustergrid status RUN` tells how it is doing, `clustergrid cancel RUN` cancels it.

    Scripts and logs are in RUN/jobs. Where RUN is in a bucket they are in a folder of
    ~/.clustergrid/jobs, or of the one that $CLUSTERGRID_JOBS names.
    """
    from clustergrid.pipeline.intake import describe_input, refuse_overlap
    from clustergrid.pipeline.jobs.submission import DriverResources, prepare, submit

    resources = DriverResources(
        cores=options["driver_cores"],
        memory_bytes=options["driver_memory"],
        walltime_seconds=options["driver_walltime"],
        queue=options["driver_queue"],
        extra=options["driver_job_extra"],
    )
    request = make_request(input, output, options)
    # What a run would refuse at once, the user hears now and not from a log.
    refuse_overlap(request)
    describe_input(request)
    if "cmap" in request.figure.heatmap or request.figure.legends:
        # Half a second of libraries, which most have no use for here.
        from clustergrid.pipeline.drawing import check_figure

        check_figure(request.figure)
    submission = prepare(request, context.meta[_WORDS], resources)
    if options["dry_run"]:
        if as_json:
            print(json.dumps({"scripts": submission.files, "notes": submission.notes}), flush=True)
            return
        for name, text in submission.files.items():
            _tell(f"# {'-' * 30} {name}\n{text}")
        return
    record = submit(submission)
    if as_json:
        print(json.dumps({"submitted": asdict(record)}), flush=True)
        return
    for note in submission.notes:
        _tell(note)
    _tell(f"submitted job {record.number} to {record.queue}; it writes to {record.log}")
    _tell(f"  clustergrid status {output}\n  clustergrid cancel {output}")


@click.command(name="cancel")
@click.argument("run", type=RunPath(exists=True, file_okay=False))
@json_option
@debug_option
def cancel_command(run: str, as_json: bool) -> None:
    """Cancel the jobs of a RUN: its driver's, and those of its workers.

    What is finished stays: the same `clustergrid submit` goes on from there.
    """
    from clustergrid.pipeline.jobs.cancelling import cancel_jobs

    cancelled = cancel_jobs(as_path(run))
    if as_json:
        print(json.dumps({"cancelled": asdict(cancelled)}), flush=True)
    else:
        _tell(str(cancelled))
