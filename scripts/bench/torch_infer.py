"""Times inference of a Keras model in PyTorch: the peer of scripts/bench/inference.sh.

torch_infer.py MODEL.h5 NxHxWxC THREADS X Y

MODEL.h5 is a whole model as `godwit export` writes it, of the layers below. X and Y are files of float32: the inputs,
and what the outputs have to be. Builds the model, traces and freezes it, in four variants (channels last in memory or
not, optimize_for_inference or not), keeps the fastest and prints "ready", the largest difference from Y relative to the
largest value of Y, PyTorch's version and the variant; then for each line with a number of seconds on standard input the
median milliseconds of one pass. Inputs are put in order once, outputs are not copied."""
import json
import sys
import time
import warnings

import h5py
import numpy
import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "selu": F.selu,
    "swish": F.silu,
    "softmax": lambda x: F.softmax(x, 1),
}


def same_padding(size, kernel, stride, dilation):
    """Zeros before and after, as Keras puts them: one more after if the number is odd."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class Window:
    """Padding of a convolution or pooling, in its own arguments if it is even, else before it."""

    def __init__(self, config, kernel):
        self.kernel, self.stride = tuple(kernel), tuple(config["strides"] or kernel)
        self.dilation = tuple(config.get("dilation_rate", (1, 1)))
        self.same = config["padding"] == "same"

    def __call__(self, x, fill=0.0):
        if not self.same:
            return x, (0, 0)
        top, bottom = same_padding(x.shape[2], self.kernel[0], self.stride[0], self.dilation[0])
        left, right = same_padding(x.shape[3], self.kernel[1], self.stride[1], self.dilation[1])
        if top == bottom and left == right:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom), value=fill), (0, 0)


class Convolution(nn.Module):
    def __init__(self, config, weights, depthwise=False):
        super().__init__()
        kernel = weights.pop(0)
        self.window, self.groups = Window(config, kernel.shape[:2]), config.get("groups", 1)
        if depthwise:  # (h, w, in, multiplier) -> (in * multiplier, 1, h, w)
            self.groups = kernel.shape[2]
            kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
        self.kernel = nn.Parameter(torch.from_numpy(numpy.ascontiguousarray(kernel.transpose(3, 2, 0, 1))))
        self.bias = nn.Parameter(torch.from_numpy(weights.pop(0))) if config["use_bias"] else None
        self.activation = ACTIVATIONS[config["activation"]]

    def forward(self, x):
        x, padding = self.window(x)
        w = self.window
        return self.activation(F.conv2d(x, self.kernel, self.bias, w.stride, padding, w.dilation, self.groups))


class SeparableConvolution(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        plain = {"use_bias": False, "activation": "linear"}
        self.depthwise = Convolution({**config, **plain}, weights, depthwise=True)
        self.pointwise = Convolution({**config, "strides": (1, 1), "dilation_rate": (1, 1)}, weights)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Normalization(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        gamma = weights.pop(0) if config["scale"] else numpy.ones_like(weights[-1])
        beta = weights.pop(0) if config["center"] else numpy.zeros_like(weights[-1])
        values = [torch.from_numpy(v) for v in (*weights, gamma, beta)]
        self.norm = nn.BatchNorm2d(len(gamma), eps=config["epsilon"])
        norm = self.norm
        for target, value in zip((norm.running_mean, norm.running_var, norm.weight, norm.bias), values):
            target.data.copy_(value)

    def forward(self, x):
        return self.norm(x)


class Dense(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        self.kernel = nn.Parameter(torch.from_numpy(weights[0].T.copy()))
        self.bias = nn.Parameter(torch.from_numpy(weights[1])) if config["use_bias"] else None
        self.activation = ACTIVATIONS[config["activation"]]

    def forward(self, x):
        return self.activation(F.linear(x, self.kernel, self.bias))


class MaxPooling(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.window = Window(config, config["pool_size"])

    def forward(self, x):
        x, padding = self.window(x, fill=float("-inf"))
        return F.max_pool2d(x, self.window.kernel, self.window.stride, padding)


class Function(nn.Module):
    """A layer without weights."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def relu(config):
    most, slope = config.get("max_value"), config.get("negative_slope") or 0
    if config.get("threshold"):
        raise ValueError("a ReLU with a threshold")
    if most == 6 and not slope:
        return F.relu6
    if slope:
        return lambda x: F.leaky_relu(x, slope) if most is None else F.leaky_relu(x, slope).clamp(max=most)
    return F.relu if most is None else lambda x: x.clamp(0, most)


def channel_axis(config):
    if config["axis"] not in (-1, 3):
        raise ValueError(f'{config["name"]}: axis {config["axis"]}')
    return 1


def build(kind, config, weights):
    if config.get("data_format", "channels_last") != "channels_last":
        raise ValueError(f'{config["name"]}: channels first')
    if kind == "Conv2D":
        return Convolution(config, weights)
    if kind == "DepthwiseConv2D":
        return Convolution(config, weights, depthwise=True)
    if kind == "SeparableConv2D":
        return SeparableConvolution(config, weights)
    if kind == "BatchNormalization":
        return Normalization({**config, "axis": channel_axis(config)}, weights)
    if kind == "Dense":
        return Dense(config, weights)
    if kind == "MaxPooling2D":
        return MaxPooling(config)
    if kind == "Activation":
        return Function(ACTIVATIONS[config["activation"]])
    if kind == "ReLU":
        return Function(relu(config))
    if kind == "Softmax":
        return Function(ACTIVATIONS["softmax"])
    if kind in ("Dropout", "InputLayer"):
        return Function(ACTIVATIONS["linear"])
    if kind == "Add":
        return Function(lambda *x: sum(x[1:], x[0]))
    if kind == "Concatenate":
        axis = channel_axis(config)
        return Function(lambda *x: torch.cat(x, axis))
    if kind == "GlobalAveragePooling2D" and not config.get("keepdims"):
        return Function(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1))
    if kind == "Flatten":
        return Function(lambda x: x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x)
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        return Function(lambda x: F.pad(x, (left, right, top, bottom)))
    if kind == "UpSampling2D" and config["interpolation"] == "nearest" and len(set(config["size"])) == 1:
        factor = float(config["size"][0])
        return Function(lambda x: F.interpolate(x, scale_factor=factor, mode="nearest"))
    raise ValueError(f'{config["name"]}: no {kind} here')


class Network(nn.Module):
    """A Keras model of one input and one output, each layer used once. Channels are the second dimension."""

    def __init__(self, path):
        super().__init__()
        with h5py.File(path) as file:
            model = json.loads(file.attrs["model_config"])
            root = file["model_weights"]
            layers = model["config"]["layers"]
            self.modules_in_order = nn.ModuleList()
            self.wires = []  # of each layer: whose outputs it takes
            last = None
            for layer in layers:
                config = layer["config"]
                group = root.get(config["name"])
                names = group.attrs.get("weight_names", []) if group else []
                weights = [group[name][()].astype("float32") for name in names]
                self.modules_in_order.append(build(layer["class_name"], config, weights))
                if model["class_name"] == "Sequential":
                    inputs = [last] if last else []
                else:
                    nodes = layer["inbound_nodes"]
                    if len(nodes) > 1:
                        raise ValueError(f'{config["name"]}: used more than once')
                    inputs = [name for name, *_ in nodes[0]] if nodes else []
                last = config["name"]
                self.wires.append((last, inputs))
            self.output = last if model["class_name"] == "Sequential" else model["config"]["output_layers"][0][0]

    def forward(self, x):
        values = {}
        for (name, inputs), module in zip(self.wires, self.modules_in_order):
            values[name] = module(*[values[i] for i in inputs]) if inputs else module(x)
        return values[self.output]


def milliseconds(model, x, seconds, least=5):
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        model(x)
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def fastest(path, x):
    """The fastest variant: (milliseconds, model, input, what it is)."""
    best = None
    for layout in (torch.channels_last, torch.contiguous_format):
        network, inputs = Network(path).eval().to(memory_format=layout), x.contiguous(memory_format=layout)
        frozen = torch.jit.freeze(torch.jit.trace(network, inputs))
        for optimized in (False, True):
            model = torch.jit.optimize_for_inference(frozen) if optimized else frozen
            for _ in range(4):  # the first passes compile
                model(inputs)
            ms = milliseconds(model, inputs, 0.3, 3)
            if best is None or ms < best[0]:
                variant = str(layout).split(".")[1] + (", optimize_for_inference" if optimized else "")
                best = ms, model, inputs, variant
            if not optimized:  # optimize_for_inference changes its argument
                frozen = torch.jit.freeze(torch.jit.trace(network, inputs))
    return best


def main():
    path, shape, threads, x_path, y_path = sys.argv[1:]
    torch.set_num_threads(int(threads))
    warnings.simplefilter("ignore", torch.jit.TracerWarning)  # a trace is for these shapes only
    n, *rest = map(int, shape.split("x"))
    x = torch.from_numpy(numpy.fromfile(x_path, "float32").reshape(n, *rest)).permute(0, 3, 1, 2)
    reference = numpy.fromfile(y_path, "float32")
    with torch.inference_mode():
        _, model, inputs, variant = fastest(path, x)
        y = model(inputs)
        y = (y.permute(0, 2, 3, 1) if y.dim() == 4 else y).to_dense().numpy().reshape(-1)
        print("ready", abs(y - reference).max() / abs(reference).max(), torch.__version__, variant, flush=True)
        for line in sys.stdin:
            print(milliseconds(model, inputs, float(line)), flush=True)


if __name__ == "__main__":
    main()
