"""One contestant in a process of its own: python worker.py NAME reads commands, a line of JSON each, and answers so.

{"do": "load", "config": {...}, "path": "...", "threads": 2, "batch": 8,
 "precision": "int8"}                                                     ->  {"seconds": 0.2, "version": "..."}
{"do": "run", "input": "x.npy", "output": "y.npy", "times": 2}            ->  {"seconds": [0.1, 0.1], "others": 0.0,
                                                                              "processor": [0.2, 0.2]}
{"do": "peak", "threads": 2, "seconds": 0.2, "precision": "int8"}         ->  {"flops": 5e11}  (ecgfm only)
{"do": "usage"}                                                           ->  {"bytes": 4e8, "seconds": 0.6}

"output" and "precision" (float32) may be left out. "flops" is null where the processor has no instruction to measure.
"others" is what other processes took of the processors while the runs lasted: 1.0 is one processor in full; "processor"
is the processor time of each run. "usage" is the most memory that the process held, and the processor time that it
took.
A package that is not installed gives {"absent": "..."}, any other failure {"error": "..."}.
"""

import json
import os
import resource
import sys
import time

import numpy as np
from common import busy_seconds, processors


class Ecgfm:
    def load(self, config, path, threads, batch, precision="float32"):
        import ecgfm
        from ecgfm.kernels import core

        ecgfm.set_num_threads(threads)
        self.model = ecgfm.load(path, precision=precision)
        version, instructions = core().onednn()
        return f"{ecgfm.__version__}, oneDNN {version} {instructions}"

    def run(self, x):
        return self.model(x).logits

    def peak(self, threads, seconds, precision="float32"):
        from ecgfm.errors import Error
        from ecgfm.kernels import core

        try:
            return core().peak_flops(threads, seconds, precision)
        except Error:
            return None


class Torch:
    """Eager mode; the file's tensors are mapped and used as they are. bfloat16 is PyTorch's autocast."""

    def load(self, config, path, threads, batch, precision="float32"):
        import torch
        import torch_model

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = torch_model.load(config, path)
        self.bfloat16 = precision == "bfloat16"
        return torch.__version__

    def run(self, x):
        autocast = self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.bfloat16)
        with self.torch.inference_mode(), autocast:
            return self.model(self.torch.from_numpy(x)).float().numpy()


class OnnxRuntime:
    """All graph optimisations, batch size fixed, so that shapes are known when the graph is optimised.

    In int8 the file says so: weights are stored, activations quantised as they come.
    """

    def load(self, config, path, threads, batch, precision="float32"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_free_dimension_override_by_name("batch", batch)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnxruntime.__version__

    def run(self, x):
        return self.session.run(None, {"x": x})[0]


class OpenVino:
    """Latency hint, one stream, batch size fixed; float32 is forced, since bfloat16 is the default where it is fast.

    In int8 the file says what is quantised; the rest is bfloat16 where the processor has it.
    """

    def load(self, config, path, threads, batch, precision="float32"):
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        model.reshape({"x": [batch, *list(model.input("x").partial_shape)[1:]]})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "bf16" if precision != "float32" and self._has_bfloat16(core) else "f32",
        }
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        return openvino.__version__

    def _has_bfloat16(self, core):
        return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def run(self, x):
        return self.request.infer({"x": x}, share_inputs=True)[0]


CONTESTANTS = {"ecgfm": Ecgfm, "torch": Torch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}


def timed_runs(contestant, command):
    x = np.load(command["input"])
    seconds, processor = [], []
    before, own_before, begin = busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(command["times"]):
        start, own = time.perf_counter(), time.process_time()
        y = contestant.run(x)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - own)
    others = busy_seconds() - before - (time.process_time() - own_before)
    others -= processors() / os.sysconf("SC_CLK_TCK")  # what counting in whole ticks may add
    wall = time.perf_counter() - begin
    if command.get("output"):
        np.save(command["output"], y)
    return {"seconds": seconds, "processor": processor, "others": max(0.0, others / wall)}


def obey(contestant, command):
    task = command["do"]
    if task == "load":
        start = time.perf_counter()
        version = contestant.load(**{name: value for name, value in command.items() if name != "do"})
        return {"seconds": time.perf_counter() - start, "version": version}
    if task == "run":
        return timed_runs(contestant, command)
    if task == "peak":
        return {"flops": contestant.peak(**{name: value for name, value in command.items() if name != "do"})}
    if task == "usage":
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "seconds": time.process_time()}
    raise ValueError(f"unknown command {task!r}")


def serve(contestant, obey):
    """Answers commands until there are no more; `contestant` is made once what libraries print is out of the way."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    contestant = contestant()
    for line in sys.stdin:
        try:
            answer = obey(contestant, json.loads(line))
        except ModuleNotFoundError as error:
            answer = {"absent": f"{error.name} is not installed"}
        except Exception as error:  # the other end decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(CONTESTANTS[sys.argv[1]], obey)
