"""Driver: the page ``/clustergrid`` of Dask's dashboard, in the scheduler's process.

Every browser has models of its own, which look a few times a second for what was heard meanwhile;
nothing is sent where nothing changed.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.dashboard.markup import (
    STYLE,
    figures_of,
    head_of,
    nothing_yet,
    picture_words,
    table_of,
)
from clustergrid.pipeline.dashboard.runs import ACTIVE, TOPIC, Picture, Runs, RunSeen

if TYPE_CHECKING:
    from bokeh.document import Document
    from distributed import Scheduler

__all__ = ["RunPage", "add_page"]

_UPDATE_MILLISECONDS = 500
_NOTHING = "#f4f4f4"
_LAST = "the latest run"


def add_page(scheduler: Scheduler, runs: Runs) -> bool:
    """Add the page to a scheduler's dashboard, and a link to it where its own pages are linked.

    Parameters
    ----------
    scheduler
        In this process.
    runs
        What the page shows.

    Returns
    -------
    bool
        Whether there is a dashboard that it could be added to.
    """
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard.core import BokehApplication
        from distributed.dashboard.scheduler import template_variables
        from tornado.ioloop import IOLoop
    except ImportError:  # a scheduler without Bokeh has no dashboard
        return False
    applications = scheduler.http_application.applications
    dashboard = next((each for each in applications if isinstance(each, BokehTornado)), None)
    if dashboard is None:
        return False
    variables = template_variables(scheduler)
    # The very list that all pages of this dashboard make their navigation of.
    if TOPIC not in variables["pages"]:
        variables["pages"].append(TOPIC)
    added = BokehApplication(
        {f"/{TOPIC}": partial(_fill, runs)},
        scheduler,
        prefix=dashboard.prefix,
        template_variables=variables,
    )
    scheduler.http_application.add_application(added)
    added.initialize(IOLoop.current())
    added.start()  # the scheduler stops it with its other applications
    return True


def _fill(runs: Runs, scheduler: Scheduler, extra: dict[str, Any], doc: Document) -> None:
    """Fill the document of one browser."""
    from distributed.dashboard.components import add_periodic_callback
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env

    del scheduler
    page = RunPage(runs)
    page.update()
    add_periodic_callback(doc, page, _UPDATE_MILLISECONDS)
    doc.title = "clustergrid"
    doc.add_root(page.root)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


class RunPage:
    """The models of one browser.

    Parameters
    ----------
    runs
        What they show.

    Attributes
    ----------
    root
        The model that holds the others.
    """

    def __init__(self, runs: Runs) -> None:
        from bokeh.layouts import column, row

        models = _bokeh("models")
        self._runs = runs
        self._head, self._figures, self._table, self._words = (_text() for _ in range(4))
        self._chooser = models.Select(
            title="run", value="", options=[("", _LAST)], visible=False, width=420
        )
        # Not of the theme's size for a page that is one plot.
        self._heights = models.ColumnDataSource({"left": [], "height": []})
        self._tree = _tree_figure(self._heights)
        self._picture: Picture | None = None
        self._pixels = models.ColumnDataSource({"image": []})
        self._image, self._mapper = _image_figure(self._pixels)
        self._shown: str | None = None
        self.root = column(
            self._chooser,
            self._head,
            self._figures,
            self._table,
            row(
                self._tree,
                column(self._words, self._image, sizing_mode="stretch_width"),
                sizing_mode="stretch_width",
            ),
            sizing_mode="stretch_width",
        )

    def update(self) -> None:
        """Show what was heard meanwhile."""
        self._offer()
        run = self._runs.find(self._chooser.value or None)
        is_there = run is not None
        for model in (self._figures, self._table, self._words):
            model.visible = is_there
        if run is None:
            self._head.text = nothing_yet()
            self._tree.visible = self._image.visible = False
            return
        now = self._runs.now()
        self._head.text = head_of(run, now)
        self._figures.text = figures_of(run)
        self._table.text = table_of(run, now)
        self._show_tree(run)
        self._show_picture(run)
        self._shown = run.identity

    def _offer(self) -> None:
        """Let people choose where there are several runs."""
        names = [(run.identity, f"{run.name} ({_when(run)})") for run in reversed(list(self._runs))]
        options = [("", _LAST), *names]
        if self._chooser.options != options:
            self._chooser.options = options
            self._chooser.visible = len(names) > 1
        if self._chooser.value not in dict(options):
            self._chooser.value = ""

    def _show_tree(self, run: RunSeen) -> None:
        tree = run.tree
        self._tree.visible = tree is not None
        if tree is None:
            return
        name, stage = tree
        # A logarithmic axis shows no zero, and a tree ends in one cluster.
        left = [max(1, left) for left, _ in stage.heights]
        heights = [height for _, height in stage.heights]
        if self._heights.data["left"] != left or self._heights.data["height"] != heights:
            self._heights.data = {"left": left, "height": heights}
        self._tree.title.text = _plain(f"{name}: height reached")

    def _show_picture(self, run: RunSeen) -> None:
        picture = run.picture
        self._words.text = picture_words(run)
        self._image.visible = picture is not None
        if picture is self._picture or picture is None:
            return
        self._picture = picture
        colors = [picture.colors[i : i + 3].hex() for i in range(0, len(picture.colors), 3)]
        self._mapper.palette = [_NOTHING, *(f"#{color}" for color in colors)]
        pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.shape)
        self._pixels.data = {"image": [pixels]}


def _when(run: RunSeen) -> str:
    return "running" if run.state == ACTIVE else run.state


def _plain(text: str) -> str:
    """Text that Bokeh does not take for mathematics, as it does what is between dollars."""
    return text.replace("$$", "$ $")


def _bokeh(module: str) -> Any:
    """Import a module of Bokeh; its types do not know what its models take."""
    return import_module(f"bokeh.{module}")


def _text() -> Any:
    return _bokeh("models").Div(
        text="", stylesheets=[STYLE], disable_math=True, sizing_mode="stretch_width"
    )


def _tree_figure(source: Any) -> Any:
    plot = _bokeh("plotting").figure(
        height=360,
        sizing_mode="stretch_width",
        x_axis_type="log",
        x_range=_bokeh("models").DataRange1d(flipped=True),
        toolbar_location=None,
        x_axis_label="clusters left",
        y_axis_label="height",
        title="height reached",
        name="tree",
    )
    plot.line("left", "height", source=source, line_width=2, color="#1f6fb2")
    plot.scatter("left", "height", source=source, size=4, color="#1f6fb2")
    return plot


def _image_figure(source: Any) -> tuple[Any, Any]:
    models = _bokeh("models")
    plot = _bokeh("plotting").figure(
        height=340,
        sizing_mode="stretch_width",
        x_range=models.Range1d(0, 1),
        y_range=models.Range1d(1, 0),  # the first row is above
        toolbar_location=None,
        name="picture",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    mapper = models.LinearColorMapper(palette=[_NOTHING] * 256, low=-0.5, high=255.5)
    plot.image("image", x=0, y=0, dw=1, dh=1, source=source, color_mapper=mapper)
    return plot, mapper
