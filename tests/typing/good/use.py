"""What a user writes in a day; both type checkers must find nothing in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ecgfm
from ecgfm import labeler


def infer(folder: Path) -> list[str]:
    model: ecgfm.Model = ecgfm.load("mimic_iv_ecg_finetuned.pt", labels=["a", "b"])
    record: ecgfm.Record = ecgfm.read(folder / "a.mat", sampling_rate=500)
    segments: ecgfm.Segments = ecgfm.prepare(record, missing_leads="zero")
    out: ecgfm.Output = model(segments, attention=True, layer=3)
    embedding: NDArray[np.float32] = out.embedding
    if out.probabilities is not None:
        print(out.probabilities[0], embedding.shape, out.labels)
    result: ecgfm.Result = ecgfm.predict(model, ["a.mat", folder / "b.csv", record], batch_size=4)
    table: ecgfm.Table = result.segments
    table.to_csv(folder / "segments.csv")
    ecgfm.embed(model, [folder], layer=2)
    ecgfm.saliency(model, record, reduction="max")
    ecgfm.plot(record, leads=["II"], path="a.png")
    ecgfm.set_num_threads(2)
    return table.columns


def train(model: ecgfm.Model, x: NDArray[np.float32], y: NDArray[np.bool_]) -> ecgfm.Model:
    tuned = ecgfm.finetune(model, x, y, labels=["a", "b"], valid=0.2, epochs=2, schedule=1e-5, seed=3)
    ecgfm.evaluate(tuned.model, x, y, bootstrap=100)
    trainer = ecgfm.Trainer(model, labels=["a", "b"], seed=1)
    trainer.accumulate(x, y)
    trainer.update()
    return tuned.model


def pretrain(x: NDArray[np.float32], second: NDArray[np.float32]) -> None:
    found = ecgfm.pretrain((x, second), valid=0.1, epochs=1)
    print(found.history.columns)


def label(reports: list[str]) -> list[str]:
    result = labeler.load().label(reports, mode="documented")
    names: list[str] = result.labels_flat["name"].tolist()
    return names


def broken() -> str | None:
    try:
        ecgfm.read("missing.npy")
    except ecgfm.Error as error:
        return error.remedy
    return None
