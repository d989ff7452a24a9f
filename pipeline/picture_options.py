"""Driver: options of the command that say how a picture looks, as they are written there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clustergrid.pipeline.request import TRACKS

__all__ = ["SplitType", "parse_palettes", "parse_tracks"]


if TYPE_CHECKING:  # older ones have no arguments
    _Type = click.ParamType[int | str]
else:
    _Type = click.ParamType


class SplitType(_Type):
    """Into how many slices an axis is split, or the table of their categories."""

    name = "split"
    _number, _file = click.IntRange(1), click.Path(exists=True, dir_okay=False)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Take whole numbers for numbers, and everything else for the name of a file."""
        is_number = isinstance(value, int) or str(value).lstrip("+-").isdecimal()
        kind: Any = self._number if is_number else self._file
        found: int | str = kind.convert(value, param, ctx)
        return found


def parse_palettes(
    _context: click.Context, _parameter: click.Parameter, entries: tuple[str, ...]
) -> dict[str, str | dict[str, str]]:
    """Read ``TITLE=COLORMAP`` and ``TITLE=LABEL:COLOUR,LABEL:COLOUR``.

    Raises
    ------
    click.BadParameter
        An entry is neither.
    """
    palettes: dict[str, str | dict[str, str]] = {}
    for entry in entries:
        title, _, colors = entry.partition("=")
        pairs = [each.rpartition(":")[::2] for each in colors.split(",")]
        is_mapping = ":" in colors
        if not title or not colors or (is_mapping and not all(map(all, pairs))):
            raise click.BadParameter(
                f"{entry!r} is neither TITLE=COLORMAP nor TITLE=LABEL:COLOUR,LABEL:COLOUR"
            )
        palettes[title] = dict(pairs) if is_mapping else colors
    return palettes


def parse_tracks(
    _context: click.Context, _parameter: click.Parameter, entries: tuple[str, ...]
) -> dict[str, str]:
    """Read ``TITLE=KIND``.

    Raises
    ------
    click.BadParameter
        There is no such kind of track.
    """
    tracks = {}
    for entry in entries:
        title, _, kind = entry.rpartition("=")
        if not title or kind not in TRACKS:
            raise click.BadParameter(f"{entry!r} is not TITLE={' or TITLE='.join(TRACKS)}")
        tracks[title] = kind
    return tracks
