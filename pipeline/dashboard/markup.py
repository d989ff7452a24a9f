"""Driver: what the page of a run says, as HTML. All that comes from a run is escaped."""

from __future__ import annotations

from datetime import datetime
from html import escape

from clustergrid.pipeline.dashboard.runs import ACTIVE, RunSeen, StageSeen
from clustergrid.pipeline.monitor import format_amount
from clustergrid.pipeline.sizes import format_bytes, format_seconds

__all__ = ["STYLE", "figures_of", "head_of", "nothing_yet", "picture_words", "table_of"]

_SILENT_SECONDS = 60.0

STYLE = """
:host { font-family: Helvetica, Arial, sans-serif; color: #222; display: block; }
h1 { font-size: 20px; margin: 4px 0; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 2px 0; font-size: 14px; color: #555; overflow-wrap: anywhere; }
.state { font-size: 13px; font-weight: 600; border-radius: 9px; padding: 2px 9px; color: #fff;
  background: #777; vertical-align: 2px; white-space: nowrap; }
.running { background: #1f6fb2; } .finished { background: #2f7d4f; }
.failed, .gone { background: #b3372f; } .stopped { background: #a06a00; }
.why { color: #b3372f; }
.figures { display: flex; flex-wrap: wrap; gap: 10px; margin: 6px 0; }
.figure { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 8px 14px;
  min-width: 92px; }
.figure b { display: block; font-size: 22px; font-weight: 600; white-space: nowrap; }
.figure span { font-size: 12px; color: #555; }
table { border-collapse: collapse; width: 100%; font-size: 14px; background: #fff;
  border: 1px solid #ddd; }
th { text-align: left; font-weight: 600; font-size: 12px; color: #555; background: #f3f3f3; }
th, td { padding: 5px 10px; border-bottom: 1px solid #eee; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.name { white-space: nowrap; font-weight: 600; }
tr.open td { background: #f2f8fd; }
.bar { width: 130px; height: 12px; background: #e6e6e6; border-radius: 3px; display: inline-block;
  overflow: hidden; vertical-align: -1px; }
.bk-clearfix { width: 100%; } td.share { white-space: nowrap; }
.bar i { display: block; height: 100%; background: #1f6fb2; }
.bar i.finished, .bar i.kept { background: #2f7d4f; } .bar i.failed { background: #b3372f; }
.bar i.stopped { background: #a06a00; }
.bar + span { display: inline-block; width: 48px; text-align: right; }
.note { color: #555; font-size: 13px; overflow-wrap: anywhere; }
"""

_STATES = {
    "running": "running",
    "finished": "finished",
    "failed": "failed",
    "stopped": "stopped",
    "gone": "driver gone",
}
_STOPPED = "The same command goes on from here."
_GONE = f"The driver left the cluster without a word. {_STOPPED}"


def nothing_yet() -> str:
    """Say that there is no run."""
    return "<h1>clustergrid</h1><p>No run has begun on this scheduler yet.</p>"


def head_of(run: RunSeen, now: float) -> str:
    """Say which run it is, what was asked, and where it stands."""
    began = f"{datetime.fromtimestamp(run.began).astimezone():%Y-%m-%d %H:%M:%S}"
    end = now if run.ended is None else run.ended
    told = f"began {began}, {format_seconds(end - run.started)} long"
    if run.state == ACTIVE and now - run.heard >= _SILENT_SECONDS:
        told += f", nothing heard for {format_seconds(now - run.heard)}"
    why = {"failed": run.why, "gone": _GONE, "stopped": _STOPPED}.get(run.state, "")
    state = f'<span class="state {run.state}">{_STATES[run.state]}</span>'
    return f"<h1>{escape(run.name)} {state}</h1><p>{escape(run.asked)}</p><p>{escape(told)}</p>" + (
        f'<p class="why">{escape(why)}</p>' if why else ""
    )


def figures_of(run: RunSeen) -> str:
    """Say in a few large figures how far the run is."""
    stage, tree = run.stage, run.tree
    figures = []
    if stage is not None:
        figures.append((stage.event.stage, "stage under way" if stage.is_open else "last stage"))
        if stage.is_open and stage.event.seconds_left is not None:
            figures.append((format_seconds(stage.event.seconds_left), "left of it"))
    if tree is not None:
        name, (left, height) = tree[0], tree[1].heights[-1]
        figures.append((f"{left:,}", f"clusters left ({name})"))
        figures.append((f"{height:.4g}", "height reached"))
    moved = [each for each in run.stages.values() if each.event.bytes]
    if moved:
        figures.append((format_bytes(sum(each.event.bytes for each in moved)), "bytes done"))
    if stage is not None and stage.is_open and stage.bytes_per_second:
        figures.append((f"{format_bytes(stage.bytes_per_second)}/s", "rate"))
    shown = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
    return f'<div class="figures">{shown}</div>'


def table_of(run: RunSeen, now: float) -> str:
    """Say where each stage stands."""
    rows = "".join(_row(stage, now) for stage in run.stages.values())
    heads = "".join(
        f'<th class="{kind}">{name}</th>'
        for name, kind in (
            ("stage", ""), ("state", ""), ("done", ""), ("of", ""), ("time", "number"),
            ("left", "number"), ("rate", "number"), ("note", ""),
        )
    )  # fmt: skip
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _row(stage: StageSeen, now: float) -> str:
    event, state, is_open = stage.event, stage.event.state, stage.is_open
    share = 1.0 if state in ("finished", "kept") else event.done / event.total if event.total else 0
    share = min(1.0, max(0.0, share))
    has_bar = event.total or state in ("finished", "kept")
    bar = f'<span class="bar"><i class="{state}" style="width: {100 * share:.1f}%"></i></span>'
    percent = f"{bar}<span>{100 * share:.0f} %</span>" if has_bar else ""
    cells = [
        ("name", event.stage),
        ("", state),
        ("", ""),
        ("", _amount(stage)),
        ("number", "" if state == "kept" else format_seconds(_seconds(stage, now))),
        ("number", format_seconds(event.seconds_left) if is_open and event.seconds_left else ""),
        ("number", _rate(stage)),
        ("note", _note(stage)),
    ]
    shown = [f'<td class="{kind}">{escape(text)}</td>' for kind, text in cells]
    shown[2] = f'<td class="share">{percent}</td>'
    return f'<tr class="{"open" if is_open else ""}">{"".join(shown)}</tr>'


def _seconds(stage: StageSeen, now: float) -> float:
    """Count the seconds of a stage; of one under way also those since it was heard of."""
    return stage.event.seconds + (now - stage.heard if stage.is_open else 0.0)


def _amount(stage: StageSeen) -> str:
    event = stage.event
    if not event.total:
        return format_amount(event.done, event.unit) if event.done else ""
    kept = f" ({event.kept:,} kept)" if event.kept and event.unit != "bytes" else ""
    done = format_bytes(event.done) if event.unit == "bytes" else f"{event.done:,}"
    return f"{done} of {format_amount(event.total, event.unit)}{kept}"


def _rate(stage: StageSeen) -> str:
    event = stage.event
    if not event.rate:
        return ""
    units = f"{format_amount(event.rate, event.unit)}/s"
    has_size = event.unit != "bytes" and stage.bytes_per_second
    return f"{units}, {format_bytes(stage.bytes_per_second)}/s" if has_size else units


def _note(stage: StageSeen) -> str:
    event = stage.event
    memory = f"peak memory {format_bytes(event.peak_memory_bytes)}"
    told = [event.note] if event.note and event.state not in ("finished", "kept") else []
    return "; ".join([*told, memory] if event.peak_memory_bytes else told)


def picture_words(run: RunSeen) -> str:
    """Say what the picture shows."""
    picture = run.picture
    if picture is None:
        return "<p>The picture comes when the trees are done.</p>"
    what = "The picture" if picture.is_whole else "The picture so far, of the rows read until now"
    limits = f"colours from {picture.low:.4g} to {picture.high:.4g}"
    return f"<p>{what}; {limits}</p>"
