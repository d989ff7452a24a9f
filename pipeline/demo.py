"""Driver: what ``clustergrid demo`` runs: all genes and samples of a real study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from clustergrid.pipeline.request import ClusterChoice, Cut, FigureOptions, RunRequest
from clustergrid.storage.datasets import endometrial_path, load_endometrial
from clustergrid.storage.places import StorePath

__all__ = ["demo_request"]

# Okabe and Ito's colours, which people of every colour vision tell apart. Names are short: they
# stand beside the strips, where they take the width of the figure from the body.
_STRIPS = {
    "tissue": ("tissue", {"Tumor": "#595959", "Adjacent_normal": "#CC79A7"}),
    "genomics_subtype": (
        "subtype",
        {"POLE": "#F0E442", "MSI-H": "#E69F00", "CNV_low": "#56B4E9", "CNV_high": "#D55E00"},
    ),
    "histologic_type": (
        "histology",
        {
            "Endometrioid": "#009E73",
            "Serous": "#0072B2",
            "Clear cell": "#000000",
            "Carcinosarcoma": "#661100",
        },
    ),
}


def demo_request(
    output: StorePath, colors: Path, *, memory_bytes: int | None, cluster: ClusterChoice
) -> RunRequest:
    """Make the demo's request, and write its table of sample colours.

    Parameters
    ----------
    output
        The run directory.
    colors
        Where to write the colours of the samples, as TSV.
    memory_bytes, cluster
        As in `RunRequest`.
    """
    _, clinical = load_endometrial()
    strips = pd.DataFrame(
        {
            title: clinical[name].astype(object).map(palette)
            for name, (title, palette) in _STRIPS.items()
        },
        index=clinical.index,
    )
    strips.to_csv(colors, sep="\t")
    legends = {
        title: {label.replace("_", " "): color for label, color in palette.items()}
        for title, palette in _STRIPS.values()
    }
    return RunRequest(
        input=str(endometrial_path()),
        directory=output,
        row_cut=Cut(k=20),
        column_cut=Cut(k=6),
        col_colors=str(colors),
        figure=FigureOptions(
            figsize_inches=(10.0, 12.0),
            heatmap={"cmap": "mako", "robust": True, "yticklabels": False},
            cbar_label="RNA (log2)",
            legends=legends,
        ),
        memory_bytes=memory_bytes,
        cluster=cluster,
    )
