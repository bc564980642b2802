"""Modules of an earlier layout of the package: their paths still import, and give the modules of today."""

import sys
from importlib import import_module

import pytest

from ecgfm import _moved

#: Package -> its public modules before the rooms were built.
EARLIER = {
    "": "checkpoint cli data ecg errors inference labeler metrics model ranks storage table training view",
    "checkpoint": "archive config conversion description directory files hub labels legacy opcodes original plain "
    "reader safetensors storage unpickle write",
    "cli": "common convert demo doubts embed evaluate hydra inspect label labels main manifests pack predict "
    "preprocess saliency splits subset",
    "data": "assigning columns conditioning dataset groups journal keys labels listing loader manifest_reading "
    "manifests mat numbering order pack packed packed_splits pipeline pool recording rows segments "
    "sources splits stages subset summary tables work",
    "data.sources": "base code_15 files mimic_iv_ecg muse physionet2021 wfdb_files",
    "ecg": "augment choices expected identity leads named prepare quality readers record resampling "
    "segment_files simulate simulation",
    "ecg.readers": "aecg common dicom dicom_elements edf hdf5 hdf5_tree hdf5_values kit mat muse npy npz scp table "
    "times wfdb wfdb_plain xml xml_others",
    "ecg.simulation": "cohort disturbance heart patient rhythm",
    "inference": "aggregate embed evaluate evaluate_metrics evaluate_plan evaluate_truth fingerprints growing "
    "growing_files ignored inputs lists matching opening predict result saliency shared stores stream "
    "truth_table write",
    "labeler": "arrays cull definitions engine explain families graph json_files label_files labeler matching "
    "mimic_iv_ecg normalizer parquet reports result rules wording",
    "metrics": "ranking",
    "storage": "folders inputs mat npy",
    "training": "arguments config config_files config_keys config_values finetune finetune_data grouping head "
    "labelling logs loop masks meters noise objectives parts pretrain pretrain_noise pretrain_settings "
    "pretrain_trainer run_folder saving schedules scoring session setting_up sums trainer validation",
    "view": "embedding_map figures overlay plot",
}


def earlier():
    return [
        ".".join(("ecgfm", *filter(None, [package]), name)) for package in EARLIER for name in EARLIER[package].split()
    ]


@pytest.mark.parametrize("path", earlier())
def test_an_earlier_path_imports(path):
    module = import_module(path)
    new = _moved.MOVED.get(path, path)
    assert module is import_module(new) is sys.modules[path]
    assert module.__name__ == module.__spec__.name == new


def test_each_path_that_moved_was_there():
    assert set(_moved.MOVED) <= set(earlier())


def test_names_of_an_earlier_path():
    from ecgfm.data import loader
    from ecgfm.data.feed.loader import Loader
    from ecgfm.ecg.readers.wfdb import FORMAT
    from ecgfm.io import wfdb

    assert loader.Loader is Loader and FORMAT is wfdb.FORMAT
    with pytest.raises(ModuleNotFoundError, match="ecgfm.data.nothing"):
        import_module("ecgfm.data.nothing")
