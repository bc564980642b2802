"""Reports of MIMIC-IV-ECG in parts."""

import pytest

from ecgfm import labeler

PARTS = ["Sinus rhythm", "Possible inferior infarct", "No PVCs", "Abnormal ECG"]


@pytest.mark.parametrize("mode", ["documented", "reference"])
@pytest.mark.parametrize("joint", ["; ; ", ";; ", ";", " ; ", "; ;; "])
def test_labels_do_not_depend_on_how_many_semicolons_there_are(mode, joint):
    wanted = next(labeler.label("; ".join(PARTS), mode).by_report())
    for text in (joint.join(PARTS), f"; {joint.join(PARTS)};", f"{joint.join(PARTS)}; ; "):
        assert next(labeler.label(text, mode).by_report()) == wanted
