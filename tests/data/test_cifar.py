import errno
import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from helpers.audit import watch

from allconv.data.cifar import CLASSES, cifar10, find_cifar10, read

RECORDS = 4
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Let a batch have four images, and the usual places lie in an empty folder."""
    monkeypatch.setattr(read, "_RECORDS", RECORDS)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    for name in ("ALLCONV_DATA", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")


def draw(seed=0):
    """Return six batches of images, (6, N, 32, 32, 3), and labels, (6, N)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6, RECORDS, 32, 32, 3), np.uint8)
    return images, rng.integers(0, 10, (6, RECORDS))


def binary_files(images, labels):
    planes = images.transpose(0, 1, 4, 2, 3).reshape(6, RECORDS, 3072)
    records = np.concatenate([labels[..., None].astype(np.uint8), planes], axis=2)
    return {f"{batch}.bin": records[index].tobytes() for index, batch in enumerate(BATCHES)}


def pickled_files(images, labels, protocol=2, make_key=str.encode):
    planes = images.transpose(0, 1, 4, 2, 3).reshape(6, RECORDS, 3072)
    batches = {}
    for name, pixels, values in zip(BATCHES, planes, labels.tolist(), strict=True):
        batch = {"batch_label": b"x", "labels": values, "data": pixels, "filenames": [b"x.png"] * RECORDS}
        batches[name] = pickle.dumps({make_key(key): value for key, value in batch.items()}, protocol=protocol)
    return batches


FOLDERS = {"cifar-10-batches-bin": binary_files, "cifar-10-batches-py": pickled_files}


def write_folder(parent, name, seed=0):
    folder = parent / name
    folder.mkdir(parents=True)
    for file, contents in FOLDERS[name](*draw(seed)).items():
        (folder / file).write_bytes(contents)
    return folder


def write_archive(path, name, seed=0, prefix="", reverse=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {"batches.meta": b"x", "readme.html": b"<html>", **FOLDERS[name](*draw(seed))}
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for file in sorted(files, reverse=reverse):
            info = tarfile.TarInfo(f"{prefix}{name}/{file}")
            info.size = len(files[file])
            archive.addfile(info, io.BytesIO(files[file]))
    return path


def check(result, seed=0):
    images, labels = draw(seed)
    train, test = result
    np.testing.assert_array_equal(train.images, images[:5].reshape(-1, 32, 32, 3), strict=True)
    np.testing.assert_array_equal(train.labels, labels[:5].reshape(-1), strict=True)
    np.testing.assert_array_equal(test.images, images[5], strict=True)
    np.testing.assert_array_equal(test.labels, labels[5], strict=True)
    assert train.names == test.names == CLASSES
    assert train.classes == test.classes == 10


@pytest.mark.parametrize("name", FOLDERS)
def test_reads_a_folder_its_parent_and_an_archive(tmp_path, name):
    folder = write_folder(tmp_path / "root", name)
    check(cifar10(folder))
    check(cifar10(str(folder.parent)))
    check(cifar10(write_archive(tmp_path / "any-name.tgz", name)))
    check(cifar10(write_archive(tmp_path / "dotted.tgz", name, prefix="./", reverse=True)))


@pytest.mark.parametrize(("protocol", "make_key"), [(0, str.encode), (2, str), (5, str)])
def test_reads_pickles_of_several_protocols_with_either_kind_of_key(tmp_path, protocol, make_key):
    for file, contents in pickled_files(*draw(), protocol, make_key).items():
        (tmp_path / file).write_bytes(contents)
    check(cifar10(tmp_path))


def test_a_pixel_is_where_the_official_description_puts_it(tmp_path):
    """The red plane first, 1,024 bytes, then green and blue; each row by row: cs.toronto.edu/~kriz/cifar.html."""
    folder = write_folder(tmp_path, "cifar-10-batches-bin")
    record = bytearray(3073)
    record[0] = 7
    for plane, row, column, value in ((0, 5, 9, 11), (1, 5, 9, 22), (2, 31, 0, 33)):
        record[1 + plane * 1024 + row * 32 + column] = value
    (folder / "test_batch.bin").write_bytes(record * RECORDS)
    _, test = cifar10(folder)
    assert test.labels.tolist() == [7] * RECORDS
    assert test.images[2, 5, 9].tolist() == [11, 22, 0]
    assert test.images[2, 31, 0].tolist() == [0, 0, 33]
    assert test.images[2].sum() == 66


def test_reads_files_of_the_official_size(monkeypatch, tmp_path):
    monkeypatch.setattr(read, "_RECORDS", 10_000)
    record = bytes([3]) + bytes(range(256)) * 12
    (tmp_path / "test_batch.bin").write_bytes(record * 10_000)
    for batch in BATCHES[:5]:
        (tmp_path / f"{batch}.bin").hardlink_to(tmp_path / "test_batch.bin")
    assert (tmp_path / "test_batch.bin").stat().st_size == 30_730_000
    train, test = cifar10(tmp_path)
    assert (train.images.shape, test.images.shape) == ((50_000, 32, 32, 3), (10_000, 32, 32, 3))
    assert train.labels.tolist() == [3] * 50_000
    assert train.images[49_999, 1, 2].tolist() == [34, 34, 34]  # 1,024 is a multiple of 256: the planes are alike


def test_prefers_the_layout_without_pickles(tmp_path):
    write_folder(tmp_path, "cifar-10-batches-py", seed=1)
    write_folder(tmp_path, "cifar-10-batches-bin", seed=2)
    check(cifar10(tmp_path), seed=2)


def test_passes_over_an_incomplete_folder_where_the_other_or_an_archive_is_whole(tmp_path):
    binary = write_folder(tmp_path, "cifar-10-batches-bin", seed=1)
    pickled = write_folder(tmp_path, "cifar-10-batches-py", seed=2)
    write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", seed=3)
    (binary / "test_batch.bin").unlink()
    check(cifar10(tmp_path), seed=2)
    (pickled / "data_batch_3").unlink()
    check(cifar10(tmp_path), seed=3)


PLACES = [
    "chosen/cifar-10-batches-bin",  # ALLCONV_DATA
    "cache/allconv/cifar-10-batches-bin",
    "work/here/data/cifar-10-batches-py",
    "work/here/cifar-10-batches-py",
    "home/.keras/datasets/cifar-10-batches-py",
    "home/.keras/datasets/cifar-10-batches-py-target/cifar-10-batches-py",
    "work/data/cifar-10-batches-py",
    "work/here/datasets/cifar-10-batches-bin",
    "home/data/cifar-10-batches-py",
    "home/datasets/cifar-10-batches-py",
]
ARCHIVES = [
    "cache/allconv/cifar-10-binary.tar.gz",
    "work/here/data/cifar-10-python.tar.gz",
    "home/.keras/datasets/cifar-10-batches-py.tar.gz",
    "home/.keras/datasets/cifar-10-batches-py-target_archive",
]


@pytest.mark.parametrize("place", ARCHIVES)
def test_finds_an_archive_in_each_usual_place(tmp_path, place):
    assert find_cifar10() is None
    path = write_archive(tmp_path / place, "cifar-10-batches-bin" if "binary" in place else "cifar-10-batches-py")
    assert find_cifar10().resolve() == path
    check(cifar10())


def test_finds_a_folder_in_each_usual_place_and_the_first_wins(monkeypatch, tmp_path):
    for seed, place in reversed(list(enumerate(PLACES))):
        folder = tmp_path / place
        write_folder(folder.parent, folder.name, seed)
        if seed == 0:
            monkeypatch.setenv("ALLCONV_DATA", str(tmp_path / "chosen"))
        assert find_cifar10().resolve() == folder
        check(cifar10(), seed)


def test_looks_in_keras_home(monkeypatch, tmp_path):
    write_folder(tmp_path / "keras" / "datasets", "cifar-10-batches-py")
    assert find_cifar10() is None
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    check(cifar10())


@pytest.mark.parametrize("value", ["cifar-10-batches-bin", "mine.tar.gz"])
def test_allconv_data_may_name_the_folder_or_archive_itself(monkeypatch, tmp_path, value):
    write_folder(tmp_path, "cifar-10-batches-bin")
    write_archive(tmp_path / "mine.tar.gz", "cifar-10-batches-bin")
    monkeypatch.setenv("ALLCONV_DATA", str(tmp_path / value))
    assert find_cifar10() == tmp_path / value
    check(cifar10())


def test_a_folder_that_may_not_be_entered_is_passed_over(monkeypatch, tmp_path):
    is_file = Path.is_file

    def denied(path):
        if "data" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", denied)
    assert find_cifar10() is None
    write_folder(tmp_path / "home" / "datasets", "cifar-10-batches-py")
    check(cifar10())


def test_a_user_without_a_home_finds_what_is_elsewhere(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert find_cifar10() is None
    write_folder(tmp_path / "work" / "here", "cifar-10-batches-py")
    check(cifar10())


def test_nothing_found_says_where_it_looked_and_how_to_download(monkeypatch, tmp_path):
    monkeypatch.setenv("ALLCONV_DATA", str(tmp_path / "chosen"))
    with pytest.raises(FileNotFoundError) as caught:
        cifar10()
    places = (str(tmp_path / place) for place in ("chosen", "cache/allconv", "home/.keras/datasets", "home/data"))
    for words in ("path must be given", "got None", "allconv.data.download_cifar10()", *places):
        assert words in str(caught.value)


@pytest.mark.parametrize("path", [0, True, b"data", ["data"], np.zeros(2)])
def test_a_path_of_another_type_is_refused(path):
    with pytest.raises(TypeError, match="path must be a path, got"):
        cifar10(path)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be a folder or .* got .*nowhere, which does not exist"):
        cifar10(tmp_path / "nowhere")


def test_a_folder_without_batches_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"which holds neither data_batch_1\.bin nor data_batch_1"):
        cifar10(tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_are_named(tmp_path, name):
    folder = write_folder(tmp_path, name)
    suffix = ".bin" if name.endswith("bin") else ""
    for batch in ("data_batch_2", "test_batch"):
        (folder / f"{batch}{suffix}").unlink()
    for path in (folder, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=f"{folder} must .* got no data_batch_2{suffix}, test_batch{suffix}"
        ):
            cifar10(path)


def test_missing_members_of_an_archive_are_named(tmp_path):
    path = tmp_path / "x.tar.gz"
    folder = write_folder(tmp_path, "cifar-10-batches-bin")
    (folder / "data_batch_4.bin").unlink()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} must hold the six batches .* got no data_batch_4"):
        cifar10(path)


@pytest.mark.parametrize("extra", [-1, 1, -3073, 3073])
def test_a_binary_file_of_another_size_is_refused(tmp_path, extra):
    folder = write_folder(tmp_path, "cifar-10-batches-bin")
    file = folder / "data_batch_5.bin"
    contents = file.read_bytes()
    file.write_bytes(contents[:extra] if extra < 0 else contents + bytes(extra))
    with pytest.raises(ValueError, match=f"data_batch_5.bin must have 12,292 bytes, got {12292 + extra:,}$"):
        cifar10(folder)


def test_a_pickled_file_that_cannot_hold_the_images_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "_MAX_PICKLE", 15_000)
    folder = write_folder(tmp_path, "cifar-10-batches-py")
    for contents in (b"", bytes(12_287), bytes(15_001)):
        (folder / "data_batch_1").write_bytes(contents)
        with pytest.raises(ValueError, match=f"data_batch_1 must have 12,288 to 15,000 bytes, got {len(contents):,}$"):
            cifar10(folder)


@pytest.mark.parametrize("label", [10, 255])
def test_a_binary_label_out_of_range_is_refused(tmp_path, label):
    folder = write_folder(tmp_path, "cifar-10-batches-bin")
    contents = bytearray((folder / "data_batch_2.bin").read_bytes())
    contents[2 * 3073] = label
    (folder / "data_batch_2.bin").write_bytes(contents)
    with pytest.raises(ValueError, match=f"data_batch_2.bin must hold labels in 0..9, got {label} in record 2"):
        cifar10(folder)


PIXELS = np.zeros((RECORDS, 3072), np.uint8)
LABELS = [0] * RECORDS
BAD_BATCHES = {
    "label above": ({"data": PIXELS, "labels": [0, 1, 10, 0]}, "labels in 0..9, got 10 in record 2"),
    "label below": ({"data": PIXELS, "labels": [0, -1, 1, 0]}, "labels in 0..9, got -1 in record 1"),
    "huge label": ({"data": PIXELS, "labels": [2**70, 0, 0, 0]}, f"labels in 0..9, got {2**70} in record 0"),
    "bool label": ({"data": PIXELS, "labels": [True, 0, 0, 0]}, "labels in 0..9, got bool in record 0"),
    "list label": ({"data": PIXELS, "labels": [0, 0, 0, [3]]}, "labels in 0..9, got list of length 1 in record 3"),
    "few labels": ({"data": PIXELS, "labels": [0]}, "labels, a list of 4 ints, got list of length 1"),
    "no labels": ({"data": PIXELS}, "labels, a list of 4 ints, got NoneType"),
    "CIFAR-100": ({"data": PIXELS, "fine_labels": LABELS}, "labels, a list of 4 ints, got NoneType"),
    "labels in a string": ({"data": PIXELS, "labels": b"\0\0\0\0"}, "labels, a list of 4 ints, got bytes"),
    "labels in two axes": ({"data": PIXELS, "labels": np.zeros((4, 10), np.uint8)}, "got list of length 10 in record"),
    "no data": ({"labels": LABELS, "x": PIXELS}, r"data, a uint8 array of shape \(4, 3072\), got NoneType"),
    "data in NHWC": ({"data": PIXELS.reshape(-1, 32, 32, 3), "labels": LABELS}, r"got an array of shape \(4, 32, 32"),
    "data transposed": ({"data": PIXELS.T, "labels": LABELS}, r"got an array of shape \(3072, 4\)"),
    "floating data": ({"data": PIXELS.astype(np.float32), "labels": LABELS}, "nothing else, got at byte .*: a call"),
    "code": ({"data": PIXELS, "labels": os.getcwd}, "the global '(posix|nt).getcwd'"),
}


@pytest.mark.parametrize("kind", BAD_BATCHES)
def test_a_pickled_batch_that_breaks_a_rule_is_refused(tmp_path, kind):
    batch, reason = BAD_BATCHES[kind]
    folder = write_folder(tmp_path, "cifar-10-batches-py")
    (folder / "data_batch_4").write_bytes(pickle.dumps(batch, protocol=2))
    with watch() as acts, pytest.raises(ValueError, match=f"^{re.escape(str(folder))}.data_batch_4 must .*{reason}"):
        cifar10(folder)
    assert acts == []


def test_labels_may_be_a_uint8_array(tmp_path):
    folder = write_folder(tmp_path, "cifar-10-batches-py")
    batch = pickle.loads((folder / "test_batch").read_bytes())
    batch[b"labels"] = np.array(batch[b"labels"], np.uint8)
    (folder / "test_batch").write_bytes(pickle.dumps(batch))
    check(cifar10(folder))


def damaged(path):
    path.write_bytes(path.read_bytes()[:-100])


def escaping(path):
    with tarfile.open(path, "w:gz") as archive:
        for file, contents in binary_files(*draw()).items():
            info = tarfile.TarInfo(f"../cifar-10-batches-bin/{file}")
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))


@pytest.mark.parametrize("way", ["the archive", "its folder", "ALLCONV_DATA"])
@pytest.mark.parametrize("spoil", [damaged, escaping])
def test_a_bad_archive_is_refused_whichever_way_it_comes_in(monkeypatch, tmp_path, way, spoil):
    folder = tmp_path / "chosen"
    path = write_archive(folder / "cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    spoil(path)
    monkeypatch.setenv("ALLCONV_DATA", str(folder))
    before = sorted(tmp_path.rglob("*"))
    with watch() as acts, pytest.raises(ValueError, match=f"^{re.escape(str(path))}"):
        cifar10({"the archive": path, "its folder": folder, "ALLCONV_DATA": None}[way])
    assert acts == []
    assert sorted(tmp_path.rglob("*")) == before
