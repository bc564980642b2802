"""One trainer in a process of its own: as worker.py, where a run is a step of pretraining and gives the loss before it.

{"do": "load", "config": {...}, "dropout": 0.1, "threads": 2, "batch": 8}  ->  {"seconds": 1.2, "version": "..."}
{"do": "run", "input": "x.npy", "output": "loss.npy", "times": 2}         ->  {"seconds": [2.1, 2.1], "others": 0.0}
{"do": "gradients", "input": "x.npy", "folder": "..."}                    ->  {"loss": 9.8}, and a file for each tensor

A batch is a number of pairs.
"""

import sys
from pathlib import Path

import numpy as np
import worker
from common import parameter, pretraining_noise

# As the original pretrains.
OPTIMIZER = {"lr": 5e-5, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}


class Ecgfm:
    precision = "float32"

    def load(self, config, dropout, threads, batch):
        import ecgfm
        from ecgfm.kernels import core

        ecgfm.set_num_threads(threads)
        self.core = core()
        places = ("dropout", "attention_dropout", "dropout_input", "dropout_features")
        self.trainer = ecgfm.Trainer(
            {key: value for key, value in config.items() if key != "num_labels"},
            loss="wav2vec2_with_cmsc",
            precision=self.precision,
            schedule=OPTIMIZER["lr"],
            optimizer={
                "adam_betas": OPTIMIZER["betas"],
                "adam_eps": OPTIMIZER["eps"],
                "weight_decay": OPTIMIZER["weight_decay"],
            },
            perturbation_mode=None,
            **dict.fromkeys(places, dropout),
        )
        for name, values in self.core_arrays().items():
            values[...] = parameter(name, values.shape)
        self.noise = pretraining_noise(config, batch)
        self.given = dict(zip(("mask_indices", "neg_idxs", "gumbel"), self.noise.values(), strict=True))
        version, instructions = self.core.onednn()
        return f"{ecgfm.__version__}, oneDNN {version} {instructions}"

    def core_arrays(self):
        return self.trainer.engine.core.arrays("parameters")

    def _pairs(self, x):
        return x.reshape(-1, 2, *x.shape[1:])

    def run(self, x):
        found = self.trainer.step(self._pairs(x), noise=self.given)
        return found["loss_sum"] / found["sample_size"]

    def gradients(self, x):
        self.trainer.accumulate(self._pairs(x), noise=self.given)
        rows = int(self.noise["steps"].sum())
        gradients = {name: grad / rows for name, grad in self.trainer.gradients().items()}
        found = self.trainer.update()
        return found["loss_sum"] / found["sample_size"], gradients

    def peak(self, threads, seconds):
        return self.core.peak_flops(threads, seconds)


class EcgfmBfloat16(Ecgfm):
    precision = "bfloat16"


class Torch:
    lower = False  # whether the encoder runs under bfloat16's autocast

    def load(self, config, dropout, threads, batch):
        import torch
        import torch_pretraining

        torch.set_num_threads(threads)
        self.trainer = torch_pretraining.Pretraining(config, dropout, OPTIMIZER, lower=self.lower)
        self.noise = pretraining_noise(config, batch)
        return torch.__version__

    def run(self, x):
        return self.trainer.step(x, self.noise)

    def gradients(self, x):
        loss = self.trainer.backward(x, self.noise)
        return loss, self.trainer.gradients()


class TorchBfloat16(Torch):
    lower = True


CONTESTANTS = {"ecgfm": Ecgfm, "ecgfm_bfloat16": EcgfmBfloat16, "torch": Torch, "torch_bfloat16": TorchBfloat16}


def obey(contestant, command):
    if command["do"] != "gradients":
        return worker.obey(contestant, command)
    loss, gradients = contestant.gradients(np.load(command["input"]))
    folder = Path(command["folder"])
    folder.mkdir()
    for name, values in gradients.items():
        np.save(folder / f"{name}.npy", values)
    return {"loss": loss}


if __name__ == "__main__":
    worker.serve(CONTESTANTS[sys.argv[1]], obey)
