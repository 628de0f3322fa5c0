"""What scripts/bench/inference.sh starts, in the root of the tree: the models, the rounds and the table.

Godwit and ONNX Runtime are timed by one program each, from C, without what a scripting language adds to a call; it is
started anew in each round. PyTorch and TensorFlow.js take seconds to start and wait from one round to the next."""
import argparse
import csv
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = "build"
GODWIT = f"{BUILD}/coordinator/godwit"
PEERS = f"{BUILD}/peers"
ORT_ARCHITECTURE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
ORT = f"{PEERS}/node_modules/onnxruntime-node/bin/napi-v6/linux/{ORT_ARCHITECTURE}/libonnxruntime.so.1"
TOLERANCE = 1e-3  # of the largest output
# Of each model: where it is, and the shape of its input.
MODELS = {
    "fashion_source": ("configs/models/fashion_source.h5", "28x28x1"),
    "fashion_small": ("", "28x28x1"),  # made by migrate()
    "fer2013_big_XCEPTION": ("../shared/models/fer2013_big_XCEPTION.hdf5", "64x64x1"),
    "mobilenet_v2": ("../shared/models/keras3/mobilenet_v2.h5", "64x64x3"),
    # 64 of them are hundreds of GFLOP, and a quarter of an hour, most of it for TensorFlow.js.
    "esrgan_slim_x2": (f"{PEERS}/node_modules/@upscalerjs/esrgan-slim/models/x2", "128x128x3"),
}
# As for a user who sets nothing and runs one program at a time.
# PyTorch allocates in each pass; kept memory makes it up to twice as fast as memory that goes back to the system.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 35)}
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_"))}


class Failure(Exception):
    """One line: why an engine cannot run a model."""


class Absent(Failure):
    """One line: why a model is left out."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def last_error(text, otherwise):
    """The line of a program's complaints that says most."""
    lines = text.strip().splitlines() or [otherwise]
    return next((line for line in reversed(lines) if "Error: " in line), lines[-1]).strip()


def output_of(*command):
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise Failure(last_error(done.stderr, f"{command[0]} ended with {done.returncode}"))
    return done.stdout


def note(notes, text, failed=True):
    """Says it now, and under the table."""
    notes.append((failed, text))
    say(f"  {text}")


class Waiting:
    """A process that prints "ready ...", then a time for each number of seconds that it is given."""

    def __init__(self, *command, environment={}):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, env={**ENVIRONMENT, **environment}, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.ready = self.line().split(maxsplit=3)[1:]

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise Failure(last_error(self.errors.read(), "it ended"))
        return line.strip()

    def milliseconds(self, seconds):
        try:
            print(seconds, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # line() says why
        return float(self.line())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Started:
    """A program that prints a time, started anew for each."""

    def __init__(self, *command):
        self.command = command

    def milliseconds(self, seconds):
        return float(output_of(*self.command, "-d", str(seconds)).split()[0])

    def end(self):
        pass


# ---- engines: each starts for a cell and returns what runs, and how far its output is from the reference; None if it
# ---- has not so many threads


def godwit(cell, threads):
    report = output_of(GODWIT, "evaluate", cell.keras, "--golden", f"{cell.files}.golden.h5", "--tolerance",
                       str(TOLERANCE), "--json")
    difference = max(output["ratio"] for output in json.loads(report)["outputs"])
    return Started(f"{BUILD}/scripts/bench/bench_infer_model", "-b", str(cell.batch), "-t", str(threads), "-s",
                   cell.shape, cell.keras), difference


def onnxruntime(cell, threads):
    run = Started(f"{BUILD}/scripts/bench/bench_ort_infer", "-t", str(threads), "-s", cell.whole_shape, "-x",
                  f"{cell.files}.x", "-y", f"{cell.files}.y", ORT, cell.onnx())
    return run, float(output_of(*run.command, "-d", "0").split()[1])


def torch(cell, threads):
    run = Waiting(sys.executable, "scripts/bench/torch_infer.py", cell.keras, cell.whole_shape, str(threads),
                  f"{cell.files}.x", f"{cell.files}.y", environment=KEEP_MEMORY)
    say(f"  PyTorch {run.ready[1]}: {run.ready[2]}")
    return run, float(run.ready[0])


def tfjs(cell, threads):
    return (cell.tfjs, 0.0) if threads == 1 else None


ENGINES = {"Godwit": godwit, "ONNX Runtime": onnxruntime, "PyTorch": torch, "TensorFlow.js": tfjs}


class Cell:
    """A model at a batch: its files, and the inputs and reference outputs that TensorFlow.js makes."""

    def __init__(self, folder, name, keras, shape, batch):
        self.name, self.keras, self.shape, self.batch = name, keras, shape, batch
        self.whole_shape, self.files = f"{batch}x{shape}", f"{folder}/{name}.{batch}"
        self.tfjs = Waiting("node", "scripts/bench/tfjs_infer.mjs", PEERS, keras, self.whole_shape, self.files)

    def onnx(self):
        path = self.keras.replace(".h5", ".onnx")
        if not os.path.exists(path):
            output_of(GODWIT, "export", self.keras, path)
        return path


# ---- models ----


def migrate(folder):
    """The half-width target of the Fashion-MNIST source, refitted, not trained."""
    output_of(GODWIT, "migrate", "configs/fashion_mnist.json", "--set", "training.epochs=0", "--set",
              f"models={folder}/models", "--set", f"runs={folder}/runs")
    return f"{folder}/models/fashion_small/1/model.h5"


def prepare(folder, name):
    """(name, Keras 2 .h5, shape of the input), or Failure."""
    if name in MODELS:
        path, shape = MODELS[name]
    else:
        path, _, shape = name.rpartition(":")
        name = os.path.splitext(os.path.basename(path))[0]
        if not path:
            raise Failure("no such model; a file needs a shape, as in model.h5:64x64x3")
    path = path or migrate(folder)
    if not os.path.exists(path):
        raise Absent(f"{path} is absent, left out")
    keras = f"{tempfile.mkdtemp(dir=folder)}/{name}.h5"
    output_of(GODWIT, "export", path, keras, "--aliases", "configs/aliases/upscalerjs.json")
    return name, keras, shape


# ---- measuring ----


def busy(seconds=0.3):
    """The processors that programs use while this one waits."""
    def times():
        with open("/proc/stat") as file:
            return [int(n) for n in file.readline().split()[1:]]

    before = times()
    time.sleep(seconds)
    spent = [b - a for a, b in zip(before, times())]
    return os.cpu_count() * (1 - (spent[3] + spent[4]) / max(1, sum(spent)))


def measure(cell, threads, options, notes):
    """{engine: (its difference, [milliseconds of each round])}; Failure if one ends while it is timed."""
    running, results = {}, {}
    for engine, start in ENGINES.items():
        if engine in options.without:
            continue
        try:
            started = start(cell, threads)
            if not started:
                continue
            running[engine], difference = started
            if not difference <= TOLERANCE:
                raise Failure(f"computes something else: {difference:.2g} of the largest output away")
            results[engine] = difference, []
        except Failure as failure:
            note(notes, f"{cell.name}, batch {cell.batch}, threads {threads}: {engine}: {failure}")
    order = list(results)
    for _ in range(options.rounds):
        for engine in order:
            results[engine][1].append(running[engine].milliseconds(options.seconds))
        order.append(order.pop(0))
    for engine, run in running.items():
        if run is not cell.tfjs:
            run.end()
    return results


def ratio(results, engine):
    """Godwit's time as a part of the engine's, the median over the rounds; None if one of them has none."""
    if "Godwit" not in results or engine not in results:
        return None
    return statistics.median(a / b for a, b in zip(results["Godwit"][1], results[engine][1]))


def digits(ms):
    """Three digits that count."""
    return "-" if ms is None else f"{ms:.{max(0, 2 - math.floor(math.log10(ms)))}f}"


def table_row(cell, threads, results):
    times = [statistics.median(results[e][1]) if e in results else None for e in ENGINES]
    part = ratio(results, "ONNX Runtime")
    row = [cell.name, cell.shape, str(cell.batch), str(threads), *map(digits, times), f"{part:.2f}" if part else "-"]
    print("| " + " | ".join(row) + " |", flush=True)


def header(options):
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    version = lambda package: json.load(open(f"{PEERS}/node_modules/{package}/package.json"))["version"]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    lines = output_of(GODWIT, "--version").splitlines()
    torch_version = "no PyTorch"
    if "PyTorch" not in options.without:
        torch_version = output_of(sys.executable, "-c", "import torch; print('PyTorch', torch.__version__)").strip()
    node = output_of("node", "--version").strip()
    print(f"{cpu}, {os.cpu_count()} cores; {lines[0]} ({commit}; {lines[-1]}), "
          f"ONNX Runtime {version('onnxruntime-node')}, {torch_version}, "
          f"TensorFlow.js {version('@tensorflow/tfjs-backend-wasm')} (WebAssembly, one thread, Node {node}). "
          f"No OMP_* is set; for PyTorch malloc keeps its memory. "
          f"{options.rounds} rounds of {options.seconds} s. Milliseconds of one pass.\n")
    names = list(ENGINES)
    print("| model | input | batch | threads | " + " | ".join(names) + " | Godwit / ONNX Runtime |")
    print("|---|---|--:|--:|" + "--:|" * (len(names) + 1), flush=True)


def numbers(text):
    return [int(n) for n in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(prog="inference.sh", description="see the comment in scripts/bench/inference.sh")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batches", type=numbers, default=[1, 64])
    parser.add_argument("--without", action="append", default=[], choices=list(ENGINES)[1:], help="leave an engine out")
    parser.add_argument("--csv")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    options.models = options.models or list(MODELS)
    if subprocess.run([sys.executable, "-c", "import torch, h5py"], capture_output=True).returncode:
        say("PyTorch is absent: scripts/install_peers.sh torch installs it")
        options.without.append("PyTorch")
    return options


def run_cell(cell, options, write, notes):
    for threads in options.threads:
        others = busy()
        if others > 0.2:
            where = f"{cell.name}, batch {cell.batch}, threads {threads}"
            note(notes, f"{where}: others use {others:.1f} processors", failed=False)
        results = measure(cell, threads, options, notes)
        table_row(cell, threads, results)
        for engine, (difference, times) in results.items():
            part = ratio(results, engine)
            write([cell.name, cell.shape, cell.batch, threads, engine, len(times), f"{statistics.median(times):.6f}",
                   f"{min(times):.6f}", f"{max(times):.6f}", part and f"{part:.4f}", f"{difference:.3g}",
                   f"{others:.1f}"])


def run(options, folder, write, notes):
    for wanted in options.models:
        try:
            name, keras, shape = prepare(folder, wanted)
        except Failure as failure:
            note(notes, f"{wanted}: {failure}", failed=not isinstance(failure, Absent))
            continue
        for batch in options.batches:
            say(f"{name}, batch {batch}")
            try:
                cell = Cell(folder, name, keras, shape, batch)
                run_cell(cell, options, write, notes)
                cell.tfjs.end()
            except Failure as failure:
                note(notes, f"{name}, batch {batch}: {failure}")


def main():
    options, notes = parse(), []
    with tempfile.TemporaryDirectory() as folder, open(options.csv or os.devnull, "w", newline="") as file:
        write = csv.writer(file).writerow
        write(["model", "input", "batch", "threads", "engine", "rounds", "median_ms", "least_ms", "most_ms",
               "godwit_ratio", "difference", "others"])
        header(options)
        run(options, folder, write, notes)
    print("".join(f"\n{text}" for _, text in notes))
    return 1 if any(failed for failed, _ in notes) else 0


if __name__ == "__main__":
    sys.exit(main())
