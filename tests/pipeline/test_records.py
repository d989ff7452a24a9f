"""Records of a stage under way: whole, noted, and gone when they are of no use."""

import numpy as np
import pytest

from clustergrid.pipeline.records import Records, drop_records
from clustergrid.storage.errors import StorageError
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import unknown_files, verify_bytes

STAGE, KEY = "linkage-row", "a" * 64
FOLDER = f"pieces/records-{STAGE}-{KEY[:16]}"


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "run", create=True)


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {"ids": rng.integers(0, 9, 40), "weight": rng.random(40).astype(np.float32)}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def damages(directory):
    return verify_bytes(directory, threads=1, progress=lambda size: None)[0]


def files(directory):
    return sorted(path.name for path in directory.path.glob("pieces/*/*"))


def test_what_was_written_is_read_by_another(directory):
    records = Records(directory, STAGE, KEY)
    assert records.names == []
    assert records.read("1") is None
    for number in range(3):
        records.write(str(number), arrays(number))
    again = Records(RunDirectory(directory.path), STAGE, KEY)
    assert again.names == ["0", "1", "2"]
    for number in range(3):
        assert_equal(again.read(str(number)), arrays(number))
    assert damages(directory) == []
    assert unknown_files(directory) == ["README.txt"]
    again.write("1", arrays(7))
    assert again.names == ["0", "2", "1"]
    assert_equal(Records(directory, STAGE, KEY).read("1"), arrays(7))


def test_one_takes_the_place_of_all_before(directory):
    records = Records(directory, STAGE, KEY)
    for number in range(3):
        records.write(str(number), arrays(number), alone=True)
        assert records.names == [str(number)]
        assert files(directory) == [f"{number}.npz"]
    assert_equal(Records(directory, STAGE, KEY).read("2"), arrays(2))


def test_those_of_another_question_are_not_there(directory):
    Records(directory, STAGE, KEY).write("1", arrays())
    other = Records(directory, STAGE, "b" * 64)
    assert other.names == []
    assert other.read("1") is None
    # What was not asked for again is kept until something else is.
    assert Records(directory, STAGE, KEY).names == ["1"]
    other.write("1", arrays(1))
    assert Records(directory, STAGE, KEY).names == []
    assert len(files(directory)) == 1
    assert Records(directory, "linkage-col", KEY).names == []


@pytest.mark.parametrize("damage", ["missing", "flipped", "torn", "note"])
def test_what_is_damaged_is_no_record(directory, damage):
    records = Records(directory, STAGE, KEY)
    for number in range(2):
        records.write(str(number), arrays(number))
    file = directory.path / FOLDER / "1.npz"
    notes = directory.path / "manifest" / f"records-{STAGE}.jsonl"
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "flipped":
        content[100] ^= 2
        file.write_bytes(content)
    elif damage == "torn":
        file.write_bytes(content[:50])
    else:
        notes.write_bytes(notes.read_bytes()[:-9])
    again = Records(directory, STAGE, KEY)
    assert again.read("1") is None
    assert_equal(again.read("0"), arrays(0))
    assert len(damages(directory)) == (0 if damage == "note" else 1)
    again.write("1", arrays(1))
    assert_equal(Records(directory, STAGE, KEY).read("1"), arrays(1))
    assert damages(directory) == []


@pytest.mark.parametrize("moment", ["before the note", "after the note"])
def test_killed_as_one_is_written(directory, monkeypatch, moment):
    """What is noted is there, whatever else is."""
    records = Records(directory, STAGE, KEY)
    records.write("1", arrays(1), alone=True)

    def stop(*args):
        raise KeyboardInterrupt

    if moment == "before the note":
        monkeypatch.setattr(type(records._manifest), "begin", stop)
    else:
        monkeypatch.setattr(records, "_remove_unnoted", stop)
    with pytest.raises(KeyboardInterrupt):
        records.write("2", arrays(2), alone=True)
    monkeypatch.undo()
    assert files(directory) == ["1.npz", "2.npz"]
    assert damages(directory) == []
    last = Records(directory, STAGE, KEY)
    expected = "1" if moment == "before the note" else "2"
    assert last.names == [expected]
    assert_equal(last.read(expected), arrays(int(expected)))
    last.write("3", arrays(3), alone=True)
    assert files(directory) == ["3.npz"]


def test_a_full_disk_is_an_error_of_ours(directory, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    records = Records(directory, STAGE, KEY)
    with pytest.raises(StorageError, match="No space left"):
        records.write("1", arrays())
    assert files(directory) == []


def test_some_are_removed_with_their_notes(directory):
    records = Records(directory, STAGE, KEY)
    for number in range(4):
        records.write(str(number), arrays(number))
    Records(directory, STAGE, "b" * 64).remove(["0"])
    records.remove(["2", "3", "7"])
    assert records.names == Records(directory, STAGE, KEY).names == ["0", "1"]
    assert files(directory) == ["0.npz", "1.npz"]
    assert damages(directory) == []
    records.write("2", arrays(5))
    assert_equal(Records(directory, STAGE, KEY).read("2"), arrays(5))


def test_they_are_dropped_with_their_notes(directory):
    for stage in (STAGE, "linkage-col"):
        records = Records(directory, stage, KEY)
        for number in range(2):
            records.write(str(number), arrays(number))
    (directory.path / FOLDER / "left.npz").write_bytes(b"not noted")
    drop_records(directory, STAGE)
    assert Records(directory, STAGE, KEY).names == []
    assert Records(directory, "linkage-col", KEY).names == ["0", "1"]
    assert files(directory) == ["0.npz", "1.npz"]
    drop_records(directory)
    assert files(directory) == []
    assert list(directory.path.glob("manifest/*")) == []
    drop_records(directory)


def test_a_run_directory_with_records_takes_no_other_input(directory):
    assert not directory.has_results
    Records(directory, STAGE, KEY).write("1", arrays())
    assert directory.has_results


def test_no_pickles_are_opened(directory):
    records = Records(directory, STAGE, KEY)
    records.write("1", {"objects": np.array([{"a": 1}], dtype=object)})
    assert records.names == ["1"]
    assert records.read("1") is None
