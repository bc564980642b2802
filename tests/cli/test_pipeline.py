"""From recordings to training, command after command, on folders laid out as the data sets'."""

import data_sets
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.data import Dataset, Loader
from ecgfm.specs.architecture import architecture_keys

pytest.importorskip("scipy", reason="needs the extra [io]")
pytest.importorskip("h5py", reason="needs the extra [io]")


def by_record(data):
    """(samples and labels of all segments, the index of each one's record), in an order of their own."""
    found = {}
    for batch in Loader(data, batch_size=4):
        for x, y, i, idx in zip(batch.x, batch.y, batch.id, batch.idx):
            found[int(i), int(idx)] = x.tobytes(), y.tolist()
    return sorted(found.values()), sorted(idx for _, idx in found)


def test_code_15_from_hdf5_to_both_trainings(run, tmp_path):
    exams = {100 + i: data_sets.signal(10.2 if i % 2 else 6, 400, seed=i) for i in range(14)}
    data_sets.code_15(tmp_path / "raw", exams)
    root, manifests = tmp_path / "code_15", tmp_path / "manifests"
    source = ("preprocess", "code_15", "--raw_root", tmp_path / "raw", "--no_parallel")
    assert run(*source, "--processed_root", root).status == 0
    done = run(
        "splits",
        "--strategy",
        "grouped",
        "--group_col",
        "patient_id",
        "--processed_root",
        root,
        "--filter_cols",
        "nan_any,constant_leads_any",
        "--fractions",
        "0.6,0.4",
        "--split_labels",
        "train,valid",
        "--seed",
        "3",
    )
    assert done.status == 0, done.err
    splits = {row["idx"]: row for row in data_sets.read_table(root / "meta_split.csv")}
    assert len(splits) == 14 and len({(row["patient_id"], row["split"]) for row in splits.values()}) == 7
    assert run("labels", "code_15", "--processed_root", root, "--meta_splits", root / "meta_split.csv").status == 0
    done = run("manifests", "--split_file_paths", root / "segmented_split.csv", "--save_dir", manifests, "--cmsc")
    assert done.status == 0, done.err
    packed = tmp_path / "packed"
    done = run(*source, "--processed_root", packed, "--packed_splits", root / "meta_split.csv")
    assert done.status == 0, done.err
    y = root / "labels" / "y.npy"
    seen = {}
    for split in ("train", "valid"):
        files = by_record(Dataset(manifests / split, labels=y, sample_rate=500))
        one_file = by_record(Dataset(packed / "packed" / split, labels=y, sample_rate=500))
        assert files == one_file and len(files[0]) > 0
        for idx in files[1]:
            assert seen.setdefault(idx, split) == split == splits[str(idx)]["split"]
        pairs = [Dataset(folder / split, pairs=True) for folder in (manifests / "cmsc", packed / "packed")]
        ours = [sorted(x.tobytes() for x in data.batch(range(len(data))).x) for data in pairs]
        assert ours[0] == ours[1] and len(ours[0]) == 2 * sum(
            int(row["idx"]) % 2 for row in splits.values() if row["split"] == split
        )
    config = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
    options = {"epochs": 1, "batch_size": 4, "progress": False}
    pretrained = ecgfm.pretrain(manifests / "cmsc" / "train.tsv", config=config, num_negatives=5, **options)
    tuned = ecgfm.finetune(pretrained.model, manifests / "train.tsv", y, valid=(manifests / "valid.tsv", y), **options)
    assert tuned.trainer.num_labels == 8 and np.isfinite(tuned.history["valid_loss"]).all()


def test_two_sources_together(run, tmp_path):
    data_sets.physionet2021(tmp_path / "physionet")
    data_sets.mimic_iv_ecg(tmp_path / "mimic")
    table = tmp_path / "manifest.csv"
    roots = {"physionet2021": tmp_path / "p" / "processed", "mimic_iv_ecg": tmp_path / "m" / "processed"}
    raws = {"physionet2021": tmp_path / "physionet" / "training", "mimic_iv_ecg": tmp_path / "mimic"}
    for source, root in roots.items():
        done = run(
            "preprocess",
            source,
            "--raw_root",
            raws[source],
            "--processed_root",
            root,
            "--manifest_file",
            table,
            "--no_parallel",
        )
        assert done.status in (0, 1), done.err
        assert (
            run(
                "splits",
                "--strategy",
                "random",
                "--processed_root",
                root,
                "--fractions",
                "0.5,0.5",
                "--split_labels",
                "train,valid",
            ).status
            == 0
        )
    (tmp_path / "weights.csv").write_text(",164889003,713427006|59118001\n164889003,1,0\n713427006|59118001,0,1\n")
    (tmp_path / "names.csv").write_text(",AF,CRBBB|RBBB\nAF,1,0\nCRBBB|RBBB,0,1\n")
    root = roots["physionet2021"]
    done = run(
        "labels",
        "physionet2021",
        "--processed_root",
        root,
        "--weights_path",
        tmp_path / "weights.csv",
        "--weight_abbrev_path",
        tmp_path / "names.csv",
        "--meta_splits",
        root / "meta_split.csv",
    )
    assert done.status == 0, done.err
    y = np.load(root / "labels" / "y.npy")
    for row in data_sets.read_table(root / "meta.csv"):
        codes = row["diagnosis"].split(",")
        assert y[int(row["idx"])].tolist() == ["164889003" in codes, "59118001" in codes]
    assert y.any(axis=0).all()
    paths = ",".join(str(root / "segmented_split.csv") for root in roots.values())
    assert run("manifests", "--split_file_paths", paths, "--save_dir", tmp_path / "all").status == 0
    found = [Dataset(tmp_path / "all" / split, sample_rate=500) for split in ("train", "valid")]
    idx = np.concatenate([data.batch(range(len(data))).idx for data in found])
    of = {int(row["idx"]): row["source"] for row in data_sets.read_table(table)}
    assert {of[i] for i in idx.tolist()} == set(roots) and len(idx) == sum(
        len(data_sets.read_table(root / "segmented.csv")) for root in roots.values()
    )
