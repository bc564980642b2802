"""A model that has the face of ecgfm's and a network of two lines, for tests of what stands around it."""

from types import SimpleNamespace

import numpy as np

LABELS = (
    "Poor data quality",
    "Sinus rhythm",
    "Premature ventricular contraction",
    "Atrial fibrillation",
    "Electronic pacemaker",
)


class FakeModel:
    """Logits and embeddings that depend on every sample of their own segment and on nothing else."""

    def __init__(self, labels=LABELS, *, outputs=5, assumed=False, training=None):
        self.labels, self.labels_assumed = labels, assumed
        self.source, self.info = "fake.pt", {} if training is None else {"training": training}
        self.precision, self.precision_reason = "float32", None
        self.outputs = outputs
        self.batches = []

    def __call__(self, x, padding_mask=None):
        x = np.asarray(x)
        assert x.ndim == 3 and x.dtype == np.float32 and np.isfinite(x).all()
        self.batches.append(x.shape)
        weights = np.cos(np.arange(x.shape[1] * x.shape[2], dtype=np.float64)).reshape(x.shape[1:])
        embedding = (x * weights).sum(axis=2).astype(np.float32)  # (B, 12)
        logits = (embedding @ np.sin(1.0 + np.arange(12 * self.outputs)).reshape(12, -1) / 20).astype(np.float32)
        probabilities = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        return SimpleNamespace(logits=logits, probabilities=probabilities, embedding=embedding)
