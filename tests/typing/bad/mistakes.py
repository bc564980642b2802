"""Mistakes that users make: both type checkers must report each line that ends in ``# mistake``, and no other."""

from __future__ import annotations

import numpy as np

import ecgfm
from ecgfm import labeler
from ecgfm.ecg import augments  # mistake

model = ecgfm.load("a.pt")
x = np.zeros((2, 12, 2500), np.float32)
record = ecgfm.Record(x[0], 500, ecgfm.LEADS)

ecgfm.prepar(record)  # mistake
ecgfm.load(5)  # mistake
ecgfm.load("a.pt", labels=17)  # mistake
ecgfm.predict(model, ["a.mat"], bach_size=4)  # mistake
ecgfm.predict(model, ["a.mat"], batch_size="4")  # mistake
ecgfm.prepare(record, missing_leads=0)  # mistake
ecgfm.read("a.mat", rate=500)  # mistake
ecgfm.finetune(model, x, None, epoch=3)  # mistake
ecgfm.finetune(model, x, None, epochs="three")  # mistake
ecgfm.evaluate(model, x, None, bootstrap="many")  # mistake
ecgfm.saliency(model, record, layer="last")  # mistake
ecgfm.set_num_threads("four")  # mistake
model(x).probability  # mistake
model(x).embedding + "text"  # mistake
model.labels = 3  # mistake
record.sampling_rate.upper()  # mistake
ecgfm.Trainer(model, sed=1)  # mistake
ecgfm.Table({"a": [1]}).to_csv(3.5)  # mistake
labeler.load().labels(["Sinus rhythm"])  # mistake
