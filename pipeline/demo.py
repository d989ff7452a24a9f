"""Driver: what ``clustergrid demo`` runs: all genes and samples of a real study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from clustergrid.pipeline.request import ClusterChoice, Cut, FigureOptions, RunRequest
from clustergrid.storage.datasets import endometrial_path, load_endometrial

__all__ = ["demo_request"]

# Okabe and Ito's colours, which people of every colour vision tell apart.
_STRIPS = {
    "tissue": {"Tumor": "#000000", "Adjacent_normal": "#CC79A7"},
    "genomics_subtype": {
        "POLE": "#F0E442",
        "MSI-H": "#E69F00",
        "CNV_low": "#56B4E9",
        "CNV_high": "#D55E00",
    },
    "histologic_type": {
        "Endometrioid": "#009E73",
        "Serous": "#0072B2",
        "Clear cell": "#999999",
        "Carcinosarcoma": "#661100",
    },
}


def demo_request(
    output: Path, colors: Path, *, memory_bytes: int | None, cluster: ClusterChoice
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
            name.replace("_", " "): clinical[name].astype(object).map(palette)
            for name, palette in _STRIPS.items()
        },
        index=clinical.index,
    )
    strips.to_csv(colors, sep="\t")
    legends = {
        name.replace("_", " "): {label.replace("_", " "): color for label, color in palette.items()}
        for name, palette in _STRIPS.items()
    }
    return RunRequest(
        input=str(endometrial_path()),
        directory=output,
        row_cut=Cut(k=20),
        column_cut=Cut(k=6),
        col_colors=str(colors),
        figure=FigureOptions(
            figsize_inches=(10.0, 12.0),
            heatmap={"cmap": "mako", "yticklabels": False},
            cbar_label="RNA, log2",
            legends=legends,
        ),
        memory_bytes=memory_bytes,
        cluster=cluster,
    )
