"""Options that cannot be, of a matrix that is good."""

from pathlib import Path

from .case import Case, frame


def write(folder: Path) -> None:
    frame().to_csv(folder / "b.csv")


def wrong(name: str, says: str, *options: str, status: int = 2) -> Case:
    return Case(name=f"option-{name}", input="b.csv", says=says, write=write, options=options,
                status=status)  # fmt: skip


CASES = [
    wrong("unknown", "No such option.*--frobnicate", "--frobnicate"),
    wrong("metric-unknown", "Unknown Distance Metric: 'pickle'", "--metric", "pickle"),
    wrong("metric-empty", "Unknown Distance Metric: ''", "--metric", ""),
    wrong("metric-of-escape-sequences", r"\\x1b\[2J", "--metric", "\x1b[2J"),
    wrong("method-unknown", "--method", "--method", "wardd"),
    wrong("ward-of-cosine", "ward", "--method", "ward", "--metric", "cosine"),
    wrong("memory-negative", "--memory", "--memory", "-1GB"),
    wrong("memory-0", "--memory|memory", "--memory", "0"),
    wrong("memory-nan", "--memory", "--memory", "nan"),
    wrong("memory-infinite", "--memory", "--memory", "infGB"),
    wrong("memory-1e999", "--memory", "--memory", "1e999GB"),
    wrong("memory-of-words", "not a size in bytes: 'much'", "--memory", "much"),
    wrong("memory-too-little", "would do|memory", "--memory", "1kB", status=1),
    wrong("k-0", "--row-k", "--row-k", "0"),
    wrong("k-fraction", "--row-k", "--row-k", "2.5"),
    wrong("k-beyond-the-rows", "rows cannot be cut into 13 clusters: there are 12", "--row-k", "13",
          status=1),
    wrong("k-of-1000-digits", "--row-k|cannot be cut", "--row-k", "9" * 1000, status=1),
    wrong("k-and-height", "not both", "--row-k", "2", "--row-height", "1"),
    wrong("height-nan", "finite height, got nan", "--row-height", "nan"),
    wrong("height-infinite", "finite height, got inf", "--row-height", "inf"),
    wrong("cut-without-a-tree", "no tree to cut", "--no-row-cluster", "--row-k", "2"),
    wrong("two-normalizations", "both", "--z-score", "rows", "--standard-scale", "rows"),
    wrong("z-score-of-something", "--z-score", "--z-score", "diagonal"),
    wrong("dtype-half", "--dtype", "--dtype", "float16"),
    wrong("figsize-0", "inches", "--figsize", "0", "3"),
    wrong("figsize-nan", "inches", "--figsize", "nan", "3"),
    wrong("figsize-infinite", "inches", "--figsize", "inf", "3"),
    wrong("figsize-negative", "inches", "--figsize", "-3", "3"),
    wrong("figsize-of-kilometres", "the stage picture needs .* PB",
          "--figsize", "100000", "100000", status=1),
    wrong("figsize-of-a-hundred-thousand-pixels", "the stage picture needs .* GB",
          "--figsize", "100", "3", "--dpi", "1200", "--memory", "4GB", status=1),
    wrong("dpi-1", "--dpi", "--dpi", "1"),
    wrong("dpi-of-words", "--dpi", "--dpi", "high"),
    wrong("format-gif", "gif", "--format", "gif"),
    wrong("format-climbs", "--format", "--format", "../x"),
    wrong("cmap-unknown", "nocmap", "--cmap", "nocmap", status=1),
    wrong("cmap-climbs", r"\.\./x", "--cmap", "../x", status=1),
    wrong("vmin-above-vmax", "vmin must be below", "--vmin", "3", "--vmax", "2"),
    wrong("vmin-nan", "vmin must be a finite number", "--vmin", "nan"),
    wrong("center-infinite", "center must be a finite number", "--center", "inf"),
    wrong("legend-without-a-colour", "LABEL=COLOUR", "--legend", "red"),
    wrong("legend-of-no-colour", "reddish", "--legend", "a=reddish", status=1),
    wrong("cluster-unknown", "cloud", "--cluster", "cloud"),
    wrong("scheduler-of-nothing", "cannot reach the Dask scheduler|scheduler", "--scheduler",
          "tcp://", status=1),
    wrong("scheduler-of-another-kind", "cannot reach the Dask scheduler|scheduler", "--scheduler",
          "gopher://127.0.0.1:1", status=1),
    wrong("port-too-high", "--dashboard-port", "--dashboard-port", "70000"),
    wrong("linkage-missing", "does not exist", "--row-linkage", "none.npy"),
]  # fmt: skip
