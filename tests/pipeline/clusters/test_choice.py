"""What may be asked of which cluster, and the presets that ask for it."""

import json
from dataclasses import asdict
from pathlib import Path

import dask
import pytest

from clustergrid.pipeline.clusters.choice import (
    CLUSTERS,
    QUEUES,
    ClusterChoice,
    format_walltime,
    parse_walltime,
)
from clustergrid.pipeline.clusters.presets import find_preset
from clustergrid.pipeline.clusters.resolve import resolve_choice
from clustergrid.pipeline.options import cluster_choice
from clustergrid.pipeline.request import RunRequest
from clustergrid.storage.errors import DataValueError

SIZE = {"cores": 4, "memory_per_worker_bytes": 8 * 10**9}


def test_a_choice_survives_json_as_part_of_a_request():
    choice = ClusterChoice(
        cluster="slurm", workers=3, job_extra=("--exclusive", "-C a"), preset="long", **SIZE
    )
    request = RunRequest(input="a.npy", directory=Path("run"), cluster=choice)
    stored = json.loads(json.dumps(request.to_json()))["cluster"]
    assert ClusterChoice(**stored) == choice
    assert stored == json.loads(json.dumps(asdict(choice)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cluster": "cloud"}, "must be one of local, none, slurm"),
        ({"queue": "long"}, "--queue says nothing to --cluster local; it is for slurm, sge"),
        ({"cluster": "htcondor", "walltime_seconds": 60}, "--walltime says nothing"),
        ({"cluster": "none", "workers": 2}, "--workers says nothing to --cluster none"),
        ({"cluster": "mpi", "workers": 2}, "--workers says nothing to --cluster mpi"),
        ({"cluster": "slurm", "image": "a"}, "--image says nothing.*it is for kubernetes"),
        ({"scheduler": "tls://a:1", "workers": 2}, "--workers is not for a scheduler that is run"),
        ({"scheduler": "tls://a:1", "cluster": "slurm"}, "not both"),
        ({"cluster": "slurm", "workers": 0}, "--workers must be positive, got 0"),
        ({"cluster": "slurm", "memory_per_worker_bytes": -1}, "--memory-per-worker must be posit"),
        ({"cluster": "slurm", "queue": "a b"}, "--queue is one word, got 'a b'"),
        ({"cluster": "slurm", "account": "a\n#SBATCH x"}, "--account is one word"),
        ({"cluster": "slurm", "job_extra": ("-x\nrm -r /",)}, "--job-extra is one line"),
        ({"cluster": "htcondor", "job_extra": ("-x",)}, "key = value"),
    ],
)
def test_what_contradicts_itself_is_refused(options, says):
    with pytest.raises(DataValueError, match=says):
        ClusterChoice(**options)


def test_what_is_described_can_be_planned_ahead():
    asked = ClusterChoice(cluster="slurm", workers=5, **SIZE)
    assert asked.described.resources(driver_memory_bytes=10**9).threads == 20
    assert asked.is_known_ahead
    assert not ClusterChoice(cluster="slurm", **SIZE).is_known_ahead
    assert ClusterChoice().is_known_ahead
    assert {word for word in CLUSTERS if not ClusterChoice(cluster=word).is_elsewhere} == {
        "local",
        "none",
    }
    assert [word for word in CLUSTERS if ClusterChoice(cluster=word).is_queue] == list(QUEUES)


@pytest.mark.parametrize("seconds", [1, 59, 3600, 86_399, 10**6])
def test_a_walltime_is_read_as_it_is_written(seconds):
    assert parse_walltime(format_walltime(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:30", "01:60:00", "01:00:60", "-5", "a", 0, True, "1-2", "h"]
)
def test_what_is_no_walltime(text):
    with pytest.raises(ValueError, match="not a time of a job"):
        parse_walltime(text)


def test_options_of_the_command_are_what_was_given():
    from clustergrid.pipeline.cli import cli

    (run,) = [command for name, command in cli.commands.items() if name == "run"]
    words = ["a.npy", "-o", "run", "--dashboard-port", "0", "--cluster", "slurm", "--cores", "2"]
    more = ["--memory-per-worker", "3GB", "--walltime", "90min", "--job-extra", "-C a"]
    with run.make_context("run", [*words, *more, "--job-extra", "-x n1"]) as context:
        choice = cluster_choice(context.params)
    assert choice == ClusterChoice(
        cluster="slurm",
        dashboard_port=0,
        workers=4,
        cores=2,
        memory_per_worker_bytes=3 * 10**9,
        walltime_seconds=5400,
        job_extra=("-C a", "-x n1"),
    )


def write_presets(path: Path, **presets) -> None:
    path.write_text(json.dumps({"clustergrid": {"presets": presets}}))  # JSON is YAML


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A file of presets; none of this machine's own."""
    file = tmp_path / "site.yaml"
    monkeypatch.setenv("CLUSTERGRID_CONFIG", str(file))
    monkeypatch.setattr(dask.config, "paths", [])
    return file


def test_a_preset_is_a_word_whose_options_others_override(site):
    write_presets(
        site,
        long={
            "cluster": "slurm",
            "workers": 20,
            "cores": 8,
            "memory-per-worker": "32GB",
            "queue": "long",
            "walltime": "08:00:00",
            "job-extra": ["--exclusive"],
        },
    )
    choice = resolve_choice({"cluster": "long", "workers": 3}, {})
    assert choice == ClusterChoice(
        cluster="slurm",
        preset="long",
        workers=3,
        cores=8,
        memory_per_worker_bytes=32 * 10**9,
        queue="long",
        walltime_seconds=8 * 3600,
        job_extra=("--exclusive",),
    )


def test_presets_of_a_folder_come_before_those_of_dask(site, tmp_path, monkeypatch):
    write_presets(site, a={"cluster": "none"})
    write_presets(tmp_path / "other.yaml", b={"scheduler": "tls://h:1"})
    monkeypatch.setenv("CLUSTERGRID_CONFIG", str(tmp_path))
    with dask.config.set({"clustergrid.presets": {"a": {"cluster": "local"}, "c": {"workers": 1}}}):
        assert find_preset("a") == {"cluster": "none"}
        assert resolve_choice({"cluster": "b"}, {}).scheduler == "tls://h:1"
        with pytest.raises(DataValueError, match=r"preset 'c' in Dask's config.*which cluster"):
            find_preset("c")
        with pytest.raises(DataValueError, match=r"'d' is none of local, .*there are a, b, c"):
            find_preset("d")


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        ({"cluster": "slurm", "wokers": 2}, "has the key 'wokers', which is none of cluster"),
        ({"cluster": "cloud"}, "cluster: 'cloud' is none of local"),
        ({"cluster": "slurm", "workers": "2"}, "workers: '2': it is a whole number"),
        ({"cluster": "slurm", "walltime": "soon"}, "walltime: 'soon': not a time"),
        ({"cluster": "slurm", "insecure": "no"}, "insecure: 'no': it is true or false"),
        ({"cluster": "slurm", "job-extra": [1]}, "it is a list of lines"),
        ("slurm", "is no mapping of options, but str"),
    ],
)
def test_a_wrong_preset_names_its_file_and_key(site, preset, says):
    write_presets(site, mine=preset)
    with pytest.raises(DataValueError, match=f"preset 'mine' in .*site.yaml.*{says}"):
        find_preset("mine")


def test_a_file_of_presets_that_is_not_there_is_said(site):
    with pytest.raises(DataValueError, match=r"\$CLUSTERGRID_CONFIG names .*site.yaml.*not there"):
        find_preset("mine")
    site.write_text("a: [")
    with pytest.raises(DataValueError, match=r"site\.yaml.* is malformed"):
        find_preset("mine")


def test_a_preset_of_dasks_files_is_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CLUSTERGRID_CONFIG", raising=False)
    monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
    write_presets(tmp_path / "lab.yaml", lab={"cluster": "slurm", "x": 1})
    with (
        dask.config.set({"clustergrid.presets": {"lab": {"cluster": "slurm", "x": 1}}}),
        pytest.raises(DataValueError, match=r"preset 'lab' in .*lab\.yaml has the key 'x'"),
    ):
        find_preset("lab")
