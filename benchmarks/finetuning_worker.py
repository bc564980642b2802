"""One trainer in a process of its own: as worker.py, where a run is a step of finetuning and gives the loss before it.

{"do": "load", "config": {...}, "path": "...", "threads": 2, "batch": 4}  ->  {"seconds": 1.2, "version": "..."}
{"do": "run", "input": "x.npy", "output": "loss.npy", "times": 2}        ->  {"seconds": [2.1, 2.1], "others": 0.0}
{"do": "gradients", "input": "x.npy", "folder": "..."}                   ->  {"loss": 0.8}, and a file for each tensor

"gradients" is a step as well. "path" is read by ecgfm alone, and so are "trainable", "adapters" and "kept", the type of
the rows that stand in the place of the signals.
"""

import sys
from pathlib import Path

import numpy as np
import worker
from common import pos_weight, targets

# As the original finetunes, with its README's learning rate: at this one the weights hardly move, however many steps
# are timed.
LR, BETAS, EPS, WEIGHT_DECAY = 1e-6, (0.9, 0.98), 1e-8, 0.0


class Ecgfm:
    """The trainer reads its weights from a file."""

    precision = "float32"

    def load(self, config, path, threads, batch, kept=None, **settings):
        import ecgfm
        from ecgfm.kernels import core

        ecgfm.set_num_threads(threads)
        self.core = core()
        self.trainer = ecgfm.Trainer(
            path,
            precision=self.precision,
            pos_weight=pos_weight(),
            schedule=LR,
            optimizer={"adam_betas": BETAS, "adam_eps": EPS, "weight_decay": WEIGHT_DECAY},
            activation_dropout=0.0,
            feature_grad_mult=0.0,
            **settings,
        )
        self.y, self.kept, self.rows = targets(batch), kept, None
        version, instructions = self.core.onednn()
        return f"{ecgfm.__version__}, oneDNN {version} {instructions}"

    def run(self, x):
        if self.kept and self.rows is None:  # in the first step, as in a first epoch
            self.rows = self.trainer.below(x, dtype=self.kept)
        found = self.trainer.step(x if self.rows is None else self.rows, self.y)
        return found["loss_sum"] / found["sample_size"]

    def gradients(self, x):
        self.trainer.accumulate(x, self.y)
        gradients = {name: grad / self.y.size for name, grad in self.trainer.gradients().items()}
        found = self.trainer.update()
        return found["loss_sum"] / found["sample_size"], gradients

    def peak(self, threads, seconds):
        return self.core.peak_flops(threads, seconds)


class EcgfmBfloat16(Ecgfm):
    precision = "bfloat16"


class Torch:
    """Eager mode with the fused Adam; the weights are made in place."""

    lower = False  # whether the forward runs under bfloat16's autocast

    def load(self, config, path, threads, batch):
        import torch
        import torch_training

        torch.set_num_threads(threads)
        self.model = torch_training.classifier(config)
        self.network = self.prepared(torch)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, LR, BETAS, EPS, WEIGHT_DECAY, fused=True)
        self.y, self.pos_weight = torch.from_numpy(targets(batch)), torch.from_numpy(pos_weight())
        self.from_numpy = torch.from_numpy
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=self.lower)
        self.loss = torch.nn.functional.binary_cross_entropy_with_logits
        return torch.__version__

    def prepared(self, torch):
        return self.model

    def _backward(self, x):
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            logits = self.network(self.from_numpy(x))
        loss = self.loss(logits.float(), self.y, pos_weight=self.pos_weight, reduction="sum") / self.y.numel()
        loss.backward()
        return loss.item()

    def run(self, x):
        loss = self._backward(x)
        self.optimizer.step()
        return loss

    def gradients(self, x):
        import torch_training

        loss = self._backward(x)
        gradients = torch_training.gradients(self.model)
        self.optimizer.step()
        return loss, gradients


class TorchCompiled(Torch):
    """The network through torch.compile; the first step compiles forward and backward."""

    def prepared(self, torch):
        return torch.compile(self.model)


class TorchBfloat16(Torch):
    lower = True


class TorchCompiledBfloat16(TorchCompiled):
    lower = True


CONTESTANTS = {
    "ecgfm": Ecgfm,
    "ecgfm_bfloat16": EcgfmBfloat16,
    "torch": Torch,
    "torch_compiled": TorchCompiled,
    "torch_bfloat16": TorchBfloat16,
    "torch_compiled_bfloat16": TorchCompiledBfloat16,
}


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
