"""The work that `same_bits.py` compares: a package, imported from the folder that is given, writes all it can into the
working directory. Only names that users have are used, so that it runs on revisions of long ago.
"""

import json
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np

import ecgfm

MODEL = str(files("ecgfm") / "assets" / "demo")
SMALL = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "conv_feature_layers": [(16, 2, 2)] * 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "latent_vars": 8,
    "final_dim": 24,
}
UPDATES = 20


def recordings(folder, count=6):
    """Simulated recordings of several lengths as .npy files; returns their paths."""
    os.makedirs(folder)
    paths = []
    for i in range(count):
        cohort = ecgfm.ecg.simulate_cohort(1, duration_s=6 + 2 * i, seed=i)
        paths.append(os.path.join(folder, f"r{i}.npy"))
        np.save(paths[-1], cohort.signal[0])
        os.utime(paths[-1], (1e9, 1e9))  # goes into journals and status tables
    return paths


def predictions(paths):
    model = ecgfm.load(MODEL)
    options = {"sampling_rate": 500}
    ecgfm.predict(model, paths, **options).to_csv("predict.csv")
    ecgfm.predict(model, paths, aggregate="mean", overlap_s=2.5, **options).to_csv("predict_overlap.csv")
    np.save("embed.npy", ecgfm.embed(model, paths, **options).embeddings)
    command("predict", MODEL, *paths, "--sampling-rate", "500", "--out", "grown.csv")
    command("embed", MODEL, *paths, "--sampling-rate", "500", "--out", "embeddings.npy")
    x = ecgfm.prepare(ecgfm.read(paths[0], 500))
    out = model(x, attention=True)
    np.savez("forward.npz", logits=out.logits, tokens=out.tokens, attention=out.attention, embedding=out.embedding)


def command(*words):
    subprocess.run([sys.executable, "-m", "ecgfm", *words], check=True, stdout=subprocess.DEVNULL)


def preprocessing(paths):
    """The stages of the pipeline: every .mat and every table."""
    command("preprocess", "files", "--raw_root", os.path.dirname(paths[0]), "--processed_root", "processed",
            "--no_parallel", "--sampling_rate", "500")  # fmt: skip


def segments(count, samples=500, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 12, samples)).astype(np.float32)


def updates(name, trainer, arguments):
    """Updates of one objective, broken off in the middle and resumed; the state and the sums."""
    sums = []
    for i in range(UPDATES):
        sums.append({key: value for key, value in trainer.step(*arguments(i)).items() if np.isscalar(value)})
    np.savez(f"{name}.npz", **dict(trainer.state_dict().items()))
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        json.dump(sums, file, default=float, indent=1, sort_keys=True)


def training():
    for loss in ("wav2vec2_with_cmsc", "wav2vec2", "cmsc"):
        trainer = ecgfm.Trainer(SMALL, loss=loss, seed=1, schedule=1e-3, num_negatives=4, mask_length=3)
        shape = (4, 12, 500) if loss == "wav2vec2" else (2, 2, 12, 500)
        updates(loss, trainer, lambda i, shape=shape: (segments(4, seed=i).reshape(shape),))
    y = (np.arange(40).reshape(8, 5) % 3 == 0).astype(np.float32)
    classifier = ecgfm.Trainer(trainer.model(), num_labels=5, seed=1, schedule=1e-3)
    updates("bce", classifier, lambda i: (segments(8, seed=i), y))
    labels = (segments(24)[:, :3, 0] > 0).astype(np.float32)
    tuned = ecgfm.finetune(MODEL, segments(24, 2500), labels, valid=0.25, epochs=2, batch_size=8, progress=False)
    with open("finetune.json", "w", encoding="utf-8") as file:
        history = {name: [float(v) for v in tuned.history[name]] for name in tuned.history.columns if name != "seconds"}
        json.dump(history, file, indent=1)
    np.savez("finetuned.npz", **tuned.model.state_dict())


def main():
    assert os.path.dirname(os.path.dirname(ecgfm.__file__)) == os.path.realpath(sys.argv[1]), ecgfm.__file__
    paths = recordings("in")
    for work in (lambda: predictions(paths), lambda: preprocessing(paths), training):
        work()


if __name__ == "__main__":
    main()
