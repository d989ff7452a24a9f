"""Driver: sends what happens in a run to the scheduler, and never waits for it.

A message is an event of Dask's (`Client.log_event`), so that a scheduler on which nobody listens
takes it too. Few are sent: of a stage under way two a second, and of those that wait to be sent
only the last of each kind.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.dashboard.runs import TOPIC
from clustergrid.pipeline.dashboard.thumbnail import levels_of, shrunk
from clustergrid.pipeline.monitor import Event, PictureMaker, Watcher

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["RunEvents", "Sender"]

_EVENT_SECONDS = 0.5
_PICTURE_SECONDS = 2.0
_PICTURE_EDGE = 300
_FLUSH_SECONDS = 2.0
_COLORS = 255
_KEPT_BACK = ("peak_driver_bytes", "peak_worker_bytes")
"""Of an event: what is only for the log."""


class Sender:
    """Sends messages one after another, in the thread of the client's loop.

    Parameters
    ----------
    client
        A connected client.
    """

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._sending: Future[None] | None = None

    def send(self, kind: str, message: dict[str, Any]) -> None:
        """Send a message soon, in place of one of its kind that was not sent yet."""
        if self._client.status != "running":
            return
        with self._lock:
            self._waiting.pop(kind, None)
            self._waiting[kind] = message
            if self._sending is not None:
                return
            sending = self._send_all()
            try:
                loop = self._client.loop.asyncio_loop
                self._sending = asyncio.run_coroutine_threadsafe(sending, loop)
            except RuntimeError:  # the loop is closed: nobody is there to hear it
                sending.close()

    async def _send_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._sending = None
                    return
                _, message = self._waiting.popitem(last=False)
            try:
                await self._client.scheduler.log_event(topic=TOPIC, msg=message)
            except Exception:
                # Whatever a lost scheduler raises: the run learns of it where it needs it.
                with self._lock:
                    self._waiting.clear()

    def flush(self) -> None:
        """Wait until everything is sent, but not for long."""
        with self._lock:
            sending = self._sending
        if sending is not None:
            with suppress(TimeoutError):
                sending.result(_FLUSH_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the picture is coloured: keywords of the heatmap.

    Attributes
    ----------
    cmap
        As of the heatmap; None: its default.
    vmin, vmax, center
        Values; None: what follows from the picture.
    """

    cmap: Any = None
    vmin: float | None = None
    vmax: float | None = None
    center: float | None = None

    @classmethod
    def of(cls, heatmap: dict[str, Any]) -> Look:
        """Take what is among the keywords of a heatmap."""
        return cls(**{each.name: heatmap.get(each.name) for each in fields(cls)})

    def colors(self, low: float, high: float) -> bytes:
        """Return red, green and blue of the 255 colours from `low` to `high`."""
        from clustergrid.pipeline.render.colormaps import (
            default_colormap,
            get_colormap,
            recentred,
        )

        colormap = default_colormap(self.center) if self.cmap is None else get_colormap(self.cmap)
        if self.center is not None:
            colormap = recentred(colormap, low, high, self.center)
        colors = np.asarray(colormap(np.linspace(0.0, 1.0, _COLORS)))[:, :3]
        return bytes(np.rint(255 * colors).astype(np.uint8))


class RunEvents(Watcher):
    """Tells a scheduler of a run.

    Parameters
    ----------
    client
        The driver's client.
    name
        The run directory, for people.
    asked
        What was asked, in a few words.
    look
        How the picture is coloured.
    """

    def __init__(self, client: Client, *, name: str, asked: str, look: Look) -> None:
        self._sender = Sender(client)
        self._run = uuid.uuid4().hex
        self._look = look
        self._told: dict[str, float] = {}
        self._showed = -_PICTURE_SECONDS
        self._send(
            "begin", "begin", name=name, asked=asked, client=str(client.id), time=time.time()
        )

    def _send(self, key: str, kind: str, **content: Any) -> None:
        self._sender.send(key, {"kind": kind, "run": self._run, **content})

    def __call__(self, event: Event) -> None:
        """Send an event, if it is news or time."""
        now = time.monotonic()
        is_soon = now - self._told.get(event.stage, -_EVENT_SECONDS) < _EVENT_SECONDS
        if event.state == "running" and is_soon and not event.is_news:
            return
        self._told[event.stage] = now
        told = {
            each.name: getattr(event, each.name)
            for each in fields(event)
            if each.name not in _KEPT_BACK
        }
        self._send(f"stage {event.stage}", "stage", **told)

    def show(self, picture: PictureMaker, *, is_whole: bool) -> None:
        """Send the picture, if it is whole or time."""
        now = time.monotonic()
        if not is_whole and now - self._showed < _PICTURE_SECONDS:
            return
        self._showed = now
        values = shrunk(picture(), _PICTURE_EDGE)
        levels, low, high = levels_of(values, self._look.vmin, self._look.vmax)
        self._send(
            "picture",
            "picture",
            shape=levels.shape,
            pixels=levels.tobytes(),
            colors=self._look.colors(low, high),
            low=low,
            high=high,
            is_whole=is_whole,
        )

    def end(self, state: str, why: str = "") -> None:
        """Say that the run is over: ``"finished"``, ``"failed"`` (and why) or ``"stopped"``."""
        self._send("end", "end", state=state, why=why)
        self._sender.flush()
