from __future__ import annotations

import gzip
import io
import tarfile

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task
from metagd_optuna.tasks.readers.cifar10 import RECORD, TEST_MEMBER, TRAIN_MEMBERS, read_cifar10


def _records(count, seed):
    records = np.random.default_rng(seed).integers(0, 256, (count, RECORD), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records


@pytest.fixture
def write(tmp_path):
    def save(members):
        path = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return save


@pytest.fixture
def members():
    return {name: _records(40, seed).tobytes() for seed, name in enumerate((*TRAIN_MEMBERS, TEST_MEMBER))}


def test_records_become_images_with_channels_last(write, members):
    record = np.arange(RECORD, dtype=np.int64).astype(np.uint8)
    record[0] = 7
    arrays = read_cifar10(write({**members, TEST_MEMBER: record.tobytes()})).arrays
    assert arrays["test_labels"].tolist() == [7]
    # after the label: 1024 red bytes, 1024 green, 1024 blue, each row by row
    row, column = 3, 5
    expected = [(1 + channel * 1024 + row * 32 + column) % 256 for channel in range(3)]
    assert arrays["test_images"][0, row, column].tolist() == expected


def test_a_stratified_tenth_of_train_is_validation(write, members):
    path = write(members)
    arrays, again = read_cifar10(path).arrays, read_cifar10(path).arrays
    assert np.bincount(arrays["val_labels"]).tolist() == [2] * 10
    assert np.bincount(arrays["train_labels"]).tolist() == [18] * 10
    rows = {image.tobytes() for part in ("train", "val") for image in arrays[f"{part}_images"]}
    assert len(rows) == 200
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], again[name])
    assert Task("cifar10", classes=tuple("abcdefghij"), **arrays).sizes == (180, 20, 40)


def test_members_that_the_format_does_not_name_are_not_looked_at(write, members):
    assert len(read_cifar10(write({**members, "../../evil": b"x"})).arrays["test_labels"]) == 40


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: {key: m[key] for key in m if key != TRAIN_MEMBERS[2]}, "data_batch_3.bin is missing"),
        (lambda m: {**m, TEST_MEMBER: b"123"}, "has 3 bytes, not a multiple of 3073"),
        (lambda m: {**m, TEST_MEMBER: b""}, "has 0 bytes"),
    ],
)
def test_a_damaged_archive_is_refused(write, members, change, text):
    with pytest.raises(MetaGDError, match=text) as caught:
        read_cifar10(write(change(members)))
    assert "cifar-10-binary.tar.gz" in str(caught.value)


def test_a_cut_or_other_file_is_refused(write, members):
    path = write(members)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MetaGDError, match="damaged"):
        read_cifar10(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(MetaGDError, match="damaged"):
        read_cifar10(path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_member_of_any_size_is_refused_before_it_is_unpacked(tmp_path, kind):
    info = tarfile.TarInfo(TRAIN_MEMBERS[0])
    info.type, info.size = kind, 2**26
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2**26), 1))
    with pytest.raises(MetaGDError, match="more than 33,554,432 bytes"):
        read_cifar10(path)
