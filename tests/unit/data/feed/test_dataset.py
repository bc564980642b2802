"""What a data set does to a segment, what it draws, and what it refuses."""

import os
import threading
import time

import numpy as np
import pytest
from bounded import PATIENCE_S
from made_segments import make_split, segment, write_segment

import ecgfm
from ecgfm.data import Dataset, Loader
from ecgfm.ecg.augment import augmentation

NOISE = ["random_leads_masking", "powerline_noise", "emg_noise", "baseline_shift", "baseline_wander"]


@pytest.fixture
def x():
    return np.random.RandomState(5).normal(size=(6, 12, 600)).astype(np.float32)


def first(x, **options):
    return Dataset(x, **options).batch([0]).x[0]


# ---- leads, filter, normalisation


@pytest.mark.parametrize("leads", ["[0, 6, 1]", "['I', 'v1', 'II']", [0, "V1", 1], (0, 6, 1)])
def test_some_leads(x, leads):
    np.testing.assert_array_equal(first(x, leads_to_load=leads), x[0][[0, 6, 1]])
    full = first(x, leads_to_load=leads, pad_leads=True)
    np.testing.assert_array_equal(full[[0, 6, 1]], x[0][[0, 6, 1]])
    assert full.shape == (12, 600) and (full[[i for i in range(12) if i not in (0, 1, 6)]] == 0).all()


def test_one_lead_of_a_bucket(x):
    data = Dataset(x, training=True, leads_to_load="['I','II','V1','V5']", leads_bucket="['V1','V5']")
    assert data.num_leads == 3
    taken = set()
    for epoch in range(1, 30):
        found = data.batch([0], epoch).x[0]
        np.testing.assert_array_equal(found[:2], x[0][:2])
        taken.add(next(i for i in range(12) if np.array_equal(found[2], x[0][i])))
        np.testing.assert_array_equal(found, data.batch([0, 1], epoch).x[0])
    assert taken == {6, 10}
    whole = Dataset(x, leads_bucket="[0, 5]").batch([0]).x[0]
    np.testing.assert_array_equal(whole[:10], x[0][[1, 2, 3, 4, 6, 7, 8, 9, 10, 11]])


def test_normalised_by_the_lead(x, tmp_path):
    mean, std = np.arange(12) / 10, 1 + np.arange(12) / 10
    for name, values in (("mean.txt", mean), ("std.txt", std)):
        (tmp_path / name).write_text("\n".join(map(str, values)) + "\n")
    paths = {"normalize": True, "mean_path": tmp_path / "mean.txt", "std_path": str(tmp_path / "std.txt")}
    expected = ((x[0] - mean[:, None]) / std[:, None]).astype(np.float32)
    np.testing.assert_array_equal(first(x, **paths), expected)
    np.testing.assert_array_equal(first(x, leads_to_load=[7, 2], **paths), expected[[7, 2]])
    padded = first(x, leads_to_load=[7, 2], pad_leads=True, **paths)
    np.testing.assert_array_equal(padded[[7, 2]], expected[[7, 2]])
    assert (padded[0] == 0).all()
    short = {"normalize": True, "mean_path": mean[[7, 2]], "std_path": std[[7, 2]]}
    np.testing.assert_array_equal(first(x, leads_to_load=[7, 2], **short), expected[[7, 2]])


def test_the_filter_takes_out_drift_and_hum():
    t = np.arange(5000) / 500
    heart = np.sin(2 * np.pi * 8 * t)
    noisy = heart + 3 * np.sin(2 * np.pi * 0.05 * t) + np.sin(2 * np.pi * 50 * t)
    from ecgfm.data.stores.segments import SegmentArrays

    source = SegmentArrays(np.tile(noisy, (1, 12, 1)), sample_rate=500)
    found = Dataset(source, filter=True).batch([0]).x[0]
    middle = slice(1000, 4000)
    assert found.dtype == np.float32 and (found == found[0]).all()
    gain = (found[0, middle] @ heart[middle]) / (heart[middle] @ heart[middle])
    assert 0.85 < gain < 1  # the moving average over 20 ms, twice
    left = found[0, middle] - gain * heart[middle]
    assert np.abs(left).max() < 0.1  # of 4 that were added; a slow wave, where the segment begins and ends


# ---- what is drawn


def test_perturbed_in_training_only_and_the_same_however_it_is_read(x):
    options = {"augment": augmentation(NOISE, 0.7), "seed": 9}
    np.testing.assert_array_equal(Dataset(x, **options).batch([2]).x[0], x[2])
    data = Dataset(x, training=True, **options)
    alone = np.concatenate([data.batch([i], 4).x for i in range(6)])
    np.testing.assert_array_equal(data.batch(range(6), 4).x, alone)
    assert not np.array_equal(alone, data.batch(range(6), 5).x)
    assert not np.array_equal(alone, Dataset(x, training=True, **options | {"seed": 8}).batch(range(6), 4).x)
    for settings in ({"threads": 0}, {"threads": 3, "ahead": 7}, {"ranks": 2}, {"batch_size": 4}):
        settings = {"batch_size": 2} | settings
        for rank in range(settings.get("ranks", 1)):
            for batch in Loader(data, rank=rank, **settings).epoch(4):
                assert not len(batch) or np.array_equal(batch.x, alone[batch.id])


def test_the_segments_of_a_pair_are_drawn_one_after_the_other(x):
    class Counting:
        def __init__(self):
            self.calls = []

        def __call__(self, values, rng):
            self.calls.append((id(rng), rng.rand()))
            return values

    augment = Counting()
    batch = Dataset(x, pairs=True, training=True, augment=augment).batch([1, 2])
    assert batch.id.tolist() == [1, 1, 2, 2] and batch.segment.tolist() == [0, 1, 0, 1]
    ids, values = zip(*augment.calls)
    assert ids[0] == ids[1] and len(set(values)) == 4


def test_the_global_generator_is_left_alone(x):
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    data = Dataset(x, training=True, augment=augmentation(NOISE), max_sample_size=100, leads_bucket="[0]")
    with pytest.raises(ecgfm.ConfigError):  # perturbations know 12 leads
        Dataset(x, training=True, augment=augmentation(NOISE), leads_to_load="[0]").batch([0])
    list(Loader(data, batch_size=2))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_cropped_the_same_each_time_without_training(x):
    data = Dataset(x, max_sample_size=450)
    np.testing.assert_array_equal(data.batch([0, 1], 1).x, data.batch([0, 1], 2).x)


def test_the_source_is_not_changed(x):
    before = x.copy()
    batch = Dataset(x, training=True, augment=augmentation(NOISE), leads_to_load=None).batch(range(6))
    batch.x[...] = 0
    plain = Dataset(x).batch([0])
    plain.x[...] = 0
    np.testing.assert_array_equal(x, before)


# ---- labels


def test_labels_in_the_files(tmp_path):
    lines = [f"\t{tmp_path}/"]
    for i in range(3):
        write_segment(tmp_path / f"r{i}_0.mat", segment(i, 0), idx=i, label=np.array([[i, 1]], np.uint8))
        lines.append(f"r{i}_0.mat\t600")
    (tmp_path / "train.tsv").write_text("\n".join(lines))
    data = Dataset(tmp_path / "train.tsv", labels="file")
    assert data.num_labels == 2 and data.batch([2, 0]).y.tolist() == [[2, 1], [0, 1]]
    write_segment(tmp_path / "r1_0.mat", segment(1, 0), idx=1)
    with pytest.raises(ecgfm.LabelError, match="r1_0.mat"):
        Dataset(tmp_path / "train.tsv", labels="file", training=True).batch([1])


@pytest.mark.parametrize(
    "made",
    [
        lambda p: np.save(p, np.zeros(5)),
        lambda p: np.save(p, np.array([["a"]])),
        lambda p: open(p, "wb").write(b"no array"),
        lambda p: None,
        lambda p: np.save(p, np.array([[{}]], dtype=object), allow_pickle=True),
    ],
)
def test_label_files_that_are_none(tmp_path, made):
    make_split(tmp_path)
    made(tmp_path / "y.npy")
    with pytest.raises(ecgfm.LabelError) as info:
        Dataset(tmp_path / "train.tsv", labels=tmp_path / "y.npy")
    assert info.value.path == str(tmp_path / "y.npy")


# ---- damage


def spoil(folder, how):
    path = folder / "segmented" / "r1_0.mat"
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "nan":
        values = segment(1, 0)
        values[3, 7] = np.nan
        write_segment(path, values, idx=11)
    elif how == "rate":
        write_segment(path, segment(1, 0), idx=11, rate=400)
    elif how == "leads":
        write_segment(path, segment(1, 0, leads=3), idx=11)
    elif how == "more leads":
        write_segment(path, segment(1, 0, leads=15), idx=11)
    return str(path)


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "nan", "rate", "leads", "more leads"])
def test_damaged_segments_are_named(tmp_path, how):
    make_split(tmp_path)
    path = spoil(tmp_path, how)
    data = Dataset(tmp_path / "train.tsv", training=True, sample_rate=500)
    batch = data.batch([1, 2, 3])
    assert batch.id.tolist() == [1, 3] and batch.size == 3
    ((name, error),) = batch.skipped
    assert name == path and path in str(error)
    with pytest.raises(ecgfm.Error, match="r1_0.mat"):
        Dataset(tmp_path / "train.tsv", sample_rate=500).batch([1, 2, 3])
    pairs = Dataset(tmp_path / "cmsc" / "train.tsv", pairs=True, training=True, sample_rate=500).batch([0, 1, 2])
    assert pairs.idx.tolist() == [10, 10, 12, 12] and [name for name, _ in pairs.skipped] == [path]


def test_pairs_that_are_not_of_one_record(tmp_path):
    make_split(tmp_path)
    files = tmp_path / "segmented"
    write_segment(files / "r1_1.mat", segment(1, 1), idx=99)
    write_segment(files / "r2_0.mat", segment(2, 0), idx=float("nan"))
    data = Dataset(tmp_path / "cmsc" / "train.tsv", pairs=True, training=True)
    batch = data.batch(range(6))
    assert batch.id.tolist() == [0, 0, 3, 3, 4, 4, 5, 5]
    (first, error), (second, other) = batch.skipped
    assert first.endswith("r1_1.mat") and "record 99" in str(error) and "r1_0.mat of 11" in str(error)
    assert second.endswith("r2_0.mat") and "neither idx nor patient_id" in str(other)
    write_segment(files / "r2_0.mat", segment(2, 0), idx=float("nan"), patient_id=12)
    assert data.batch([2]).idx.tolist() == [12, 12]


def test_the_first_is_damaged(tmp_path):
    make_split(tmp_path)
    (tmp_path / "segmented" / "r0_0.mat").unlink()
    for i in range(1, 12):
        path = tmp_path / "segmented" / f"r{i // 2}_{i % 2}.mat"
        write_segment(path, segment(i, 0), idx=i, label=np.ones((1, 3), "u1"))
    data = Dataset(tmp_path / "train.tsv", training=True, labels="file")
    data.check()
    assert data.num_labels == 3 and data.batch([0, 1]).id.tolist() == [1]
    with pytest.raises(ecgfm.FormatError, match="r0_0.mat"):
        Dataset(tmp_path / "train.tsv", labels="file").check()


def test_all_are_damaged(tmp_path):
    make_split(tmp_path)
    data = Dataset(tmp_path / "train.tsv", training=True, sample_rate=400)
    with pytest.raises(ecgfm.SignalError, match="500 Hz, not 400 Hz"):
        data.check()
    batch = data.batch([0, 1])
    assert len(batch) == 0 and batch.x.shape == (0, 12, 0) and batch.padding_mask is None
    Dataset(tmp_path / "train.tsv", training=True, sample_rate=500).check()


def test_packed_splits_that_are_damaged(tmp_path):
    x = make_split(tmp_path)
    packed = tmp_path / "packed"
    values = x.copy()
    values[4, 2, 100] = np.inf
    np.save(packed / "train.npy", values)
    data = Dataset(packed / "train", training=True)
    batch = data.batch(range(3, 6))
    assert batch.id.tolist() == [3, 5] and "segment 0 of r2.mat" in batch.skipped[0][0]
    with open(packed / "train.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 10)  # while it is open
    assert "ends before it" in str(data.batch([11]).skipped[0][1])
    with pytest.raises(ecgfm.FormatError, match="train.npy"):
        Dataset(packed / "train")
    np.save(packed / "train.npy", x[:5])
    with pytest.raises(ecgfm.FormatError, match="12 rows for 5"):
        Dataset(packed / "train")
    np.save(packed / "train.npy", x.astype(np.float64))
    with pytest.raises(ecgfm.FormatError, match="float64"):
        Dataset(packed / "train")
    (packed / "train.index.csv").unlink()
    with pytest.raises(ecgfm.FormatError, match="index"):
        Dataset(packed / "train")


# ---- arguments


@pytest.mark.parametrize(
    "options, error, field",
    [
        ({"leads_to_load": "[12]"}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": "['V9']"}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": "[0, 0]"}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": "__import__('os')"}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": "[]"}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": [True]}, ecgfm.LeadError, "leads_to_load"),
        ({"leads_to_load": "[0]", "leads_bucket": "[1]"}, ecgfm.LeadError, "leads_bucket"),
        ({"leads_bucket": "[1]", "pad_leads": True}, ecgfm.ConfigError, "leads_bucket"),
        ({"normalize": True}, ecgfm.ConfigError, "mean_path"),
        ({"normalize": True, "mean_path": [0] * 12, "std_path": [0] * 12}, ecgfm.ConfigError, "std_path"),
        ({"normalize": True, "mean_path": [0] * 5, "std_path": [1] * 12}, ecgfm.ConfigError, "mean_path"),
        ({"normalize": True, "mean_path": "/no/file", "std_path": [1] * 12}, ecgfm.FormatError, "mean_path"),
        ({"seed": -1}, ecgfm.ConfigError, "seed"),
        ({"seed": 1 << 32}, ecgfm.ConfigError, "seed"),
        ({"max_sample_size": 0}, ecgfm.ConfigError, "max_sample_size"),
        ({"max_sample_size": 1.5}, ecgfm.ConfigError, "max_sample_size"),
        ({"labels": np.zeros((5, 2))}, ecgfm.LabelError, "y"),
    ],
)
def test_arguments_that_do_not_fit(x, options, error, field):
    with pytest.raises(error) as info:
        Dataset(x, **options)
    assert info.value.field == field


@pytest.mark.parametrize(
    "options, field",
    [
        ({"rank": 2, "ranks": 2}, "rank"),
        ({"threads": -1}, "threads"),
        ({"max_bad_segments": 2}, "max_bad_segments"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": None}, "batch_size"),
        ({"batch_size": None, "max_tokens": 599}, "max_tokens"),
    ],
)
def test_loaders_that_do_not_work(x, options, field):
    with pytest.raises(ecgfm.ConfigError) as info:
        Loader(Dataset(x), **{"batch_size": 2} | options)
    assert info.value.field == field


# ---- reading ahead


class Slow:
    """A data set that counts who reads and what."""

    training, seed, path, num_segments = False, 1, None, 20
    sizes = np.full(20, 10)

    def __init__(self, fail=None):
        self.read, self.threads, self.fail = [], set(), fail

    def batch(self, items, epoch):
        self.threads.add(threading.current_thread().name)
        self.read.append(items.tolist())
        time.sleep(0.002)
        if self.fail in items:
            raise ecgfm.FormatError("is bad", path="a.mat")
        return type("Batch", (), {"skipped": [], "items": items.tolist()})()


def test_batches_are_read_ahead_and_no_further():
    data = Slow()
    found = Loader(data, batch_size=1, shuffle=False, threads=2, ahead=4).epoch(1)
    assert next(found).items == [0]
    end = time.monotonic() + PATIENCE_S
    while len(data.read) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)  # for what would be read too early
    assert sorted(data.read) == [[i] for i in range(5)]  # the one that was taken and four more
    assert all(name.startswith("ecgfm-read") for name in data.threads)
    found.close()
    count = len(data.read)
    time.sleep(0.05)
    assert len(data.read) == count
    assert not [thread for thread in threading.enumerate() if thread.name in data.threads and thread.is_alive()]


def test_an_error_comes_at_its_batch():
    found = Loader(Slow(fail=3), batch_size=1, shuffle=False, threads=2, ahead=8).epoch(1)
    assert [next(found).items for _ in range(3)] == [[0], [1], [2]]
    with pytest.raises(ecgfm.FormatError, match="a.mat"):
        next(found)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ecgfm-read")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_reads_the_same(tmp_path):
    x = make_split(tmp_path)
    data = Dataset(tmp_path / "packed" / "train")
    next(iter(Loader(data, batch_size=2)))
    child = os.fork()
    if not child:
        ok = all(np.array_equal(batch.x, x[batch.id]) for batch in Loader(data, batch_size=2))
        os._exit(0 if ok else 1)
    for batch in Loader(data, batch_size=2):
        np.testing.assert_array_equal(batch.x, x[batch.id])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
