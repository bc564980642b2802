"""What is noted of real recordings is true: nothing of PTB-XL's and LUDB's."""

import re
import warnings

import pytest

from ecgfm import prepare
from ecgfm.io.inputs import expand

#: What lies in these folders beside the recordings, and is left out with a word.
TABLES = {"ptbxl": {"ptbxl_database.csv", "scp_statements.csv"}, "ludb": {"ludb.csv"}}


@pytest.mark.parametrize("name", TABLES)
def test_notes_on_real_recordings(shared, name):
    folder = shared / "real" / name
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    ignored = {}
    files = [one for _, one in expand(folder, lambda path, reason: ignored.setdefault(path, reason))]
    assert {path.rpartition("/")[2] for path in ignored} == TABLES[name]
    assert len(files) >= 100 and all(str(file).endswith(".hea") for file in files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files[:: max(1, len(files) // 400)]:
            about = prepare(file).provenance
            assert not about["notes"] and not about["quality"], (file, about)
            assert not about["derived_leads"] and not about["zero_leads"] and not about["constant_leads"], file


def test_a_plateau_of_ptb_xl(shared):
    """The end of V2 stays at one value, and one step below it in between: it is not cut off there."""
    folder = shared / "real/ptbxl/records100/11000"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    assert prepare(folder / "11488_lr").provenance["quality"] == {}


def test_flat_leads_are_told(shared):
    folder = shared / "real/challenge"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    for _, file in expand(folder):
        about = prepare(file).provenance
        assert not about["notes"], (file, about["notes"])
        said = about["quality"]
        assert set(said) <= {"flat", "amplitude"} and set(about["constant_leads"]) <= set(said.get("flat", ())), file
        assert all(re.fullmatch("V[1-6]", lead) for lead in said.get("flat", ()))
