"""Take the picture of the page of a run that `docs/watching.md` shows.

    python docs/images/make_watching.py [FILE]

It runs a part of the demo's matrix on a local cluster, waits in the middle of the picture, and
looks at the page in headless Chromium (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

N_ROWS = 6_000


def main(path: Path) -> None:
    """Run, look, and save."""
    from clustergrid.pipeline.dashboard import events as told
    from clustergrid.pipeline.dashboard.events import RunEvents
    from clustergrid.pipeline.monitor import PictureMaker, Progress
    from clustergrid.pipeline.request import ClusterChoice, FigureOptions, RunRequest
    from clustergrid.pipeline.run import run
    from clustergrid.storage.datasets import load_endometrial
    from tests.browser.harness import running_browser

    found: dict[str, str] = {}
    may_look, may_go = threading.Event(), threading.Event()

    def notice(line: str) -> None:
        if line.startswith("dashboard: "):
            found["url"] = line.removeprefix("dashboard: ")

    show = RunEvents.show

    def show_and_stop(events: RunEvents, picture: PictureMaker, *, is_whole: bool) -> None:
        show(events, picture, is_whole=is_whole)
        if not is_whole:
            may_look.set()
            may_go.wait(300)

    RunEvents.show = show_and_stop  # type: ignore[method-assign]
    # A pass of a moment is told in full.
    told._EVENT_SECONDS = 0.05
    Progress.__init__.__kwdefaults__["interval_seconds"] = 0.02  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        matrix, _ = load_endometrial()
        matrix.iloc[:N_ROWS].to_parquet("rna.parquet")
        request = RunRequest(
            input="rna.parquet",
            directory=Path("rna-run"),
            memory_bytes=6 * 10**9,
            cluster=ClusterChoice(cluster="local", dashboard_port=0),
            # Few pixels, so that the picture comes from several groups of rows.
            figure=FigureOptions(
                figsize_inches=(4.5, 4.5), dpi=50, heatmap={"cmap": "mako", "robust": True}
            ),
        )
        thread = threading.Thread(target=run, args=(request,), kwargs={"notice": notice})
        thread.start()
        while not may_look.wait(0.2):
            if not thread.is_alive():
                raise SystemExit("the run ended before there was a picture")
        with running_browser(Path(folder) / "profile") as browser:
            browser.open(found["url"])
            browser.wait(lambda text: "The picture so far" in text)
            browser.screenshot(path, width=1280, height=1260)
        may_go.set()
        thread.join()
    with Image.open(path) as picture:
        # A page has few colours: so it is a quarter as large, and looks the same.
        picture.convert("RGB").quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else HERE / "watching.png")
