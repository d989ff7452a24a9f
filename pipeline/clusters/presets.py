"""Driver: presets, by which a site or a user names all options of a cluster with one word.

A preset is a mapping of the options of `clustergrid run`, in Dask's configuration or in the file or
folder of YAML that ``CLUSTERGRID_CONFIG`` names, which comes first::

    clustergrid:
      presets:
        long:
          cluster: slurm
          workers: 20
          cores: 8
          memory-per-worker: 32GB
          queue: long
          walltime: "08:00:00"
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clustergrid.pipeline.clusters.choice import CLUSTERS, parse_walltime
from clustergrid.pipeline.sizes import parse_bytes
from clustergrid.storage.errors import DataValueError

__all__ = ["VARIABLE", "find_preset", "read_preset"]

VARIABLE = "CLUSTERGRID_CONFIG"
_SECTION = "clustergrid"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("it is a word")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("it is a whole number")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it is true or false")
    return value


def _lines(value: Any) -> tuple[str, ...]:
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise ValueError("it is a list of lines")
    return tuple(lines)


_KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "cluster": ("cluster", _text),
    "scheduler": ("scheduler", _text),
    "scheduler-file": ("scheduler_file", _text),
    "dashboard-port": ("dashboard_port", _number),
    "tls-ca-file": ("tls_ca_file", _text),
    "tls-cert": ("tls_cert", _text),
    "tls-key": ("tls_key", _text),
    "insecure": ("insecure", _yes_or_no),
    "workers": ("workers", _number),
    "cores": ("cores", _number),
    "memory-per-worker": ("memory_per_worker_bytes", parse_bytes),
    "queue": ("queue", _text),
    "account": ("account", _text),
    "walltime": ("walltime_seconds", parse_walltime),
    "interface": ("interface", _text),
    "job-extra": ("job_extra", _lines),
    "namespace": ("namespace", _text),
    "image": ("image", _text),
}
"""Keys of a preset: the field of `ClusterChoice`, and how its value is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Presets, and the file that they are from."""

    name: str
    presets: Mapping[str, Any]


def find_preset(name: str) -> dict[str, Any]:
    """Find a preset by its name.

    Parameters
    ----------
    name
        As ``--cluster`` has it.

    Returns
    -------
    dict
        Of fields of `ClusterChoice`.

    Raises
    ------
    DataValueError
        Nobody has such a preset, or it has a key or a value that no option has.
    """
    sources = _sources()
    for source in sources:
        if name in source.presets:
            return read_preset(name, source.presets[name], source.name)
    known = sorted({str(each) for source in sources for each in source.presets})
    raise DataValueError(
        f"--cluster {name!r} is none of {', '.join(CLUSTERS)}, and no preset: "
        + (f"there are {', '.join(known)}" if known else "there are none")
        + f" (clustergrid.presets in ~/.config/dask/*.yaml or in the file of ${VARIABLE})"
    )


def read_preset(name: str, content: Any, source: str) -> dict[str, Any]:
    """Read a preset.

    Parameters
    ----------
    name
        Of the preset, for messages.
    content
        What stands there.
    source
        Where, for messages.

    Raises
    ------
    DataValueError
        A key or a value is none of an option.

    Examples
    --------
    >>> read_preset("long", {"cluster": "slurm", "walltime": "02:00:00"}, "site.yaml")
    {'cluster': 'slurm', 'walltime_seconds': 7200}
    """
    where = f"preset {name!r} in {source}"
    if not isinstance(content, Mapping):
        raise DataValueError(f"{where} is no mapping of options, but {type(content).__name__}")
    read: dict[str, Any] = {}
    for key, value in content.items():
        option = str(key).replace("_", "-")
        if option not in _KEYS:
            raise DataValueError(
                f"{where} has the key {key!r}, which is none of {', '.join(_KEYS)}"
            )
        field, parse = _KEYS[option]
        try:
            read[field] = parse(value)
        except ValueError as error:
            raise DataValueError(f"{where}: {key}: {value!r}: {error}") from error
    if not {"cluster", "scheduler", "scheduler_file"} & read.keys():
        raise DataValueError(f"{where} does not say which cluster: one of {', '.join(CLUSTERS)}")
    if read.get("cluster", "local") not in CLUSTERS:
        raise DataValueError(
            f"{where}: cluster: {read['cluster']!r} is none of {', '.join(CLUSTERS)}"
        )
    return read


def _sources() -> list[_Source]:
    """All places of presets, those first that count before the others."""
    import dask

    ours = os.environ.get(VARIABLE)
    if ours and not os.path.exists(ours):
        raise DataValueError(f"${VARIABLE} names {ours!r}, which is not there")
    found = _files([ours]) if ours else []
    places = {
        name: source.name
        for source in _files([str(path) for path in dask.config.paths])
        for name in source.presets
    }
    # All files, DASK_ variables and what was set in Python, merged in Dask's way.
    merged = _mapping(dask.config.get(f"{_SECTION}.presets", {}))
    found += (
        _Source(name=places.get(name, "Dask's configuration"), presets={name: content})
        for name, content in merged.items()
    )
    return found


def _files(paths: list[str]) -> list[_Source]:
    import dask

    try:
        files = list(dask.config.collect_yaml(paths, return_paths=True))
    except ValueError as error:  # not YAML
        raise DataValueError(" ".join(str(error).split())) from error
    return [
        _Source(name=str(path), presets=presets)
        for path, content in files
        if (presets := _mapping(_mapping(content.get(_SECTION)).get("presets")))
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
