#!/usr/bin/python3
"""Small models with the layers and options that TensorFlow.js lacks, as Keras 3 and Keras 2 write them, with random
weights and inputs, and what PyTorch computes for them by its own layers, or by the formulas of Keras's documentation.

  layer_cases.py OUT.jsonl.gz [SEED]

One case a line; what a line has is said in tests/data/layers/README.md. Needs Debian's python3-torch.
"""
import gzip
import json
import math
import re
import sys

import numpy as np
import torch
import torch.nn.functional as F

random = np.random.RandomState(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
ORACLE = "PyTorch " + re.match(r"[\d.]*\d", torch.__version__)[0]
torch.set_num_threads(1)

# ---- numbers: few significant bits, so that they are exact in float32 and compress well ----


def eighths(shape):
    return random.randint(-8, 9, size=tuple(shape)) / 8.0


def weight_values(name, shape):
    """Of a variance near that which keeps the size of activations (He et al. 2015)."""
    if "variance" in name:
        return 1 + eighths(shape) / 2
    if re.search("gamma|scale", name):
        return 1 + eighths(shape) / 4
    if "embeddings" in name:
        return eighths(shape)
    if "count" in name:
        return np.full(tuple(shape), 7.0)
    if "kernel" in name:
        n = int(np.prod(shape))
        fan_in = n // shape[-1] if "depthwise" not in name else n // shape[-1] // shape[-2]
        return eighths(shape) * 2.0 ** round(math.log2(math.sqrt(6 / max(fan_in, 1))))
    return eighths(shape) / 4


# ---- models ----


def snake(name):
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Tensor:
    def __init__(self, value, layer, output=0, dtype="float32"):
        self.value, self.layer, self.output, self.dtype = value, layer, output, dtype

    @property
    def shape(self):
        return list(self.value.shape)


class Model:
    """Builds a functional model's JSON and computes it at the same time."""

    def __init__(self, keras=3, batch=2):
        self.keras, self.batch = keras, batch
        self.layers, self.weights, self.inputs, self.names = [], [], [], {}

    def name(self, class_name):
        base = snake(class_name)
        n = self.names[base] = self.names.get(base, -1) + 1
        return base if n == 0 else "%s_%d" % (base, n)

    def weight(self, layer, name, shape):
        values = weight_values(name, shape).astype(np.float32)
        self.weights.append(("%s/%s" % (layer, name), values))
        return torch.from_numpy(np.array(values))

    def dtype(self):
        if self.keras == 2:
            return "float32"
        return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}

    def input(self, shape, integers=0, padded=False, null=False, scale=2.0):
        name = self.name("InputLayer")
        full = [self.batch] + list(shape)
        if integers:
            values = random.randint(1 if padded else 0, integers, size=full).astype(np.float32)
            if padded:  # zeros at the end of each sample
                for i in range(self.batch):
                    values[i, 2 + 2 * i:] = 0
        else:
            values = (scale * eighths(full)).astype(np.float32)
        declared = [None] + [None if null and i < len(shape) - 1 else d for i, d in enumerate(shape)]
        dtype = "int32" if integers else "float32"
        key = "batch_shape" if self.keras == 3 else "batch_input_shape"
        self.layers.append({"class_name": "InputLayer", "name": name, "inbound_nodes": [],
                            "config": {key: declared, "dtype": dtype, "sparse": False, "name": name}})
        tensor = Tensor(torch.from_numpy(values), name, 0, dtype)
        self.inputs.append(tensor)
        return tensor

    def reference(self, value):
        if isinstance(value, Tensor):
            if self.keras == 2:
                return [value.layer, 0, value.output]
            return {"class_name": "__keras_tensor__", "config": {
                "shape": [None] + value.shape[1:], "dtype": value.dtype, "keras_history": [value.layer, 0, value.output]}}
        if isinstance(value, (list, tuple)):
            return [self.reference(v) for v in value]
        return value

    def calls(self, args, kwargs):
        if self.keras == 3:
            return [{"args": [self.reference(a) for a in args],
                     "kwargs": {k: self.reference(v) for k, v in kwargs.items()}}]
        tensors = args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args
        calls = []
        for i, tensor in enumerate(tensors):
            given = {k: self.reference(v) for k, v in kwargs.items()} if i == 0 else {}
            calls.append(self.reference(tensor) + [given])
        return [calls]

    def append(self, class_name, name, config, args, kwargs, module="keras.layers", registered=None):
        layer = {"class_name": class_name, "config": config, "name": name, "inbound_nodes": self.calls(args, kwargs)}
        if self.keras == 3:
            layer.update(module=module, registered_name=registered)
        self.layers.append(layer)

    def layer(self, class_name, args, outputs, config=None, kwargs=None, name=None, **where):
        """A layer called on args, of which `outputs` is the value, or a list of values; args is a list."""
        name = name or self.name(class_name)
        full = {"name": name, "trainable": True, "dtype": self.dtype()}
        full.update(config or {})
        self.append(class_name, name, full, args, kwargs or {}, **where)
        if isinstance(outputs, list):
            return [Tensor(v, name, i) for i, v in enumerate(outputs)]
        return Tensor(outputs, name)

    def line(self, name, outputs):
        ends = lambda tensors: [[t.layer, 0, t.output] for t in tensors]
        config = {"name": "functional", "trainable": True, "layers": self.layers, "input_layers": ends(self.inputs),
                  "output_layers": ends(outputs)}
        topology = {"model_config": {"class_name": "Functional" if self.keras == 3 else "Model", "config": config},
                    "keras_version": "3.5.0" if self.keras == 3 else "2.12.0", "backend": "tensorflow"}
        values = lambda a: [float("%.9g" % v) for v in np.asarray(a, dtype=np.float32).ravel()]
        for t in outputs:
            assert torch.isfinite(t.value).all() and t.value.abs().max() > 0, name
        return {
            "name": name, "oracle": ORACLE,
            "model": {"format": "layers-model", "generatedBy": "keras", "convertedBy": None, "modelTopology": topology,
                      "weightsManifest": [{"paths": ["weights.bin"], "weights": [
                          {"name": n, "shape": list(v.shape), "dtype": "float32"} for n, v in self.weights]}]},
            "weights": [v for _, w in self.weights for v in values(w)],
            "x": [{"shape": t.shape, "data": values(t.value)} for t in self.inputs],
            "y": [{"shape": t.shape, "data": values(t.value)} for t in outputs],
        }


cases = []


def case(name, model, outputs):
    cases.append(json.dumps(model.line(name, outputs if isinstance(outputs, list) else [outputs]), separators=(",", ":")))


# ---- layers; x is (N, ..., C) as in Keras ----

ACTIVATIONS = {
    "linear": lambda x: x, "relu": F.relu, "relu6": F.relu6, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "gelu": F.gelu, "silu": F.silu, "hard_sigmoid": F.hardsigmoid, "hard_silu": F.hardswish, "elu": F.elu,
    "selu": F.selu, "softplus": F.softplus, "softsign": F.softsign, "exponential": torch.exp, "mish": F.mish,
    "log_softmax": lambda x: F.log_softmax(x, -1), "softmax": lambda x: F.softmax(x, -1),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "celu": F.celu, "hard_tanh": F.hardtanh,
    "log_sigmoid": F.logsigmoid, "tanh_shrink": F.tanhshrink, "soft_shrink": F.softshrink,
    "hard_shrink": F.hardshrink, "glu": None,
}


def first(x):  # channels first
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def pad_same(x, kernel, strides, dilation, value=0.0):
    """x channels first: the odd cell goes after."""
    pads = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilation):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads = [total // 2, total - total // 2] + pads
    return F.pad(x, pads, value=value)


CONV = {1: F.conv1d, 2: F.conv2d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d}


def convolve(x, kernel, bias, strides, padding, dilation, groups):
    """Kernel (k..., C / groups, M)."""
    rank = len(strides)
    y = first(x)
    if padding == "same":
        y = pad_same(y, kernel.shape[:rank], strides, dilation)
    if padding == "causal":
        y = F.pad(y, [(kernel.shape[0] - 1) * dilation[0], 0])
    w = kernel.movedim(-1, 0).movedim(-1, 1).contiguous()
    return last(CONV[rank](y, w, bias, stride=strides, dilation=dilation, groups=groups))


def conv(m, x, filters, kernel, strides=None, padding="valid", dilation=None, groups=1, use_bias=True,
         activation="linear", name=None):
    rank = len(kernel)
    strides, dilation = strides or [1] * rank, dilation or [1] * rank
    name = name or m.name("Conv%dD" % rank)
    w = m.weight(name, "kernel", list(kernel) + [x.shape[-1] // groups, filters])
    b = m.weight(name, "bias", [filters]) if use_bias else None
    y = ACTIVATIONS[activation](convolve(x.value, w, b, strides, padding, dilation, groups))
    return m.layer("Conv%dD" % rank, [x], y, dict(
        filters=filters, kernel_size=kernel, strides=strides, padding=padding, data_format="channels_last",
        dilation_rate=dilation, groups=groups, activation=activation, use_bias=use_bias), name=name)


def depthwise(m, x, kernel, strides=None, padding="valid", dilation=None, multiplier=1, use_bias=True):
    rank, c = len(kernel), x.shape[-1]
    strides, dilation = strides or [1] * rank, dilation or [1] * rank
    name = m.name("DepthwiseConv%dD" % rank)
    w = m.weight(name, "kernel" if m.keras == 3 else "depthwise_kernel", list(kernel) + [c, multiplier])
    b = m.weight(name, "bias", [c * multiplier]) if use_bias else None
    # Output channel c * multiplier + j.
    full = w.reshape(list(kernel) + [1, c * multiplier])
    y = convolve(x.value, full, b, strides, padding, dilation, c)
    return m.layer("DepthwiseConv%dD" % rank, [x], y, dict(
        kernel_size=kernel, strides=strides, padding=padding, depth_multiplier=multiplier,
        data_format="channels_last", dilation_rate=dilation, activation="linear", use_bias=use_bias), name=name)


def separable1d(m, x, filters, kernel, strides=1, padding="valid", multiplier=1, activation="linear"):
    name, c = m.name("SeparableConv1D"), x.shape[-1]
    d = m.weight(name, "depthwise_kernel", [kernel, c, multiplier])
    p = m.weight(name, "pointwise_kernel", [1, c * multiplier, filters])
    b = m.weight(name, "bias", [filters])
    y = convolve(x.value, d.reshape(kernel, 1, c * multiplier), None, [strides], padding, [1], c)
    y = ACTIVATIONS[activation](convolve(y, p, b, [1], "valid", [1], 1))
    return m.layer("SeparableConv1D", [x], y, dict(
        filters=filters, kernel_size=[kernel], strides=[strides], padding=padding, dilation_rate=[1],
        depth_multiplier=multiplier, activation=activation, use_bias=True, data_format="channels_last"), name=name)


def conv_transpose(m, x, filters, kernel, strides, padding, use_bias=True):
    rank = len(kernel)
    name = m.name("Conv%dDTranspose" % rank)
    w = m.weight(name, "kernel", list(kernel) + [filters, x.shape[-1]])
    b = m.weight(name, "bias", [filters]) if use_bias else None
    y = TRANSPOSE[rank](first(x.value), w.movedim(-1, 0).movedim(-1, 1).contiguous(), None, stride=strides)
    for i in range(rank):
        size, k, s = x.shape[1 + i], kernel[i], strides[i]
        wanted = size * s if padding == "same" else size * s + max(k - s, 0)
        before = max(k - s, 0) // 2 if padding == "same" else 0
        missing = before + wanted - y.shape[2 + i]
        if missing > 0:
            y = F.pad(y, [0, 0] * (rank - 1 - i) + [0, missing])
        y = y.narrow(2 + i, before, wanted)
    y = last(y) + (b if use_bias else 0)
    return m.layer("Conv%dDTranspose" % rank, [x], y, dict(
        filters=filters, kernel_size=kernel, strides=strides, padding=padding, output_padding=None,
        data_format="channels_last", dilation_rate=[1] * rank, activation="linear", use_bias=use_bias), name=name)


def dense(m, x, units, activation="linear", use_bias=True):
    name = m.name("Dense")
    w = m.weight(name, "kernel", [x.shape[-1], units])
    b = m.weight(name, "bias", [units]) if use_bias else None
    y = ACTIVATIONS[activation](F.linear(x.value, w.T, b))
    return m.layer("Dense", [x], y, dict(units=units, activation=activation, use_bias=use_bias), name=name)


def activation(m, x, kind):
    return m.layer("Activation", [x], ACTIVATIONS[kind](x.value), dict(activation=kind))


def batch_norm(m, x, epsilon=1e-3, axis=-1):
    name, c = m.name("BatchNormalization"), x.shape[axis]
    gamma, beta, mean, variance = (m.weight(name, w, [c]) for w in ("gamma", "beta", "moving_mean", "moving_variance"))
    y = x.value.movedim(axis, 1)
    y = F.batch_norm(y, mean, variance, gamma, beta, eps=epsilon).movedim(1, axis)
    return m.layer("BatchNormalization", [x], y, dict(axis=axis, momentum=0.99, epsilon=epsilon, center=True, scale=True),
                   name=name)


def layer_norm(m, x, epsilon=1e-3, name=None, where=None):
    name, c = name or m.name("LayerNormalization"), x.shape[-1]
    gamma, beta = m.weight(name, "gamma", [c]), m.weight(name, "beta", [c])
    y = F.layer_norm(x.value, [c], gamma, beta, eps=epsilon)
    config = dict(axis=[len(x.shape) - 1], epsilon=epsilon, center=True, scale=True)
    if m.keras == 3:
        config["rms_scaling"] = False
    return m.layer("LayerNormalization", [x], y, config, name=name)


def merge(m, class_name, tensors, value, config=None):
    return m.layer(class_name, [tensors], value, config)


def add(m, a, b):
    return merge(m, "Add", [a, b], a.value + b.value)


def global_pool(m, x, kind="GlobalAveragePooling2D", keepdims=False):
    axes = list(range(1, len(x.shape) - 1))
    y = x.value.mean(axes, keepdim=keepdims) if "Average" in kind else x.value.amax(axes, keepdim=keepdims)
    return m.layer(kind, [x], y, dict(data_format="channels_last", keepdims=keepdims))


def embedding(m, x, rows, width, mask_zero=False):
    name = m.name("Embedding")
    table = m.weight(name, "embeddings", [rows, width])
    return m.layer("Embedding", [x], F.embedding(x.value.long(), table),
                   dict(input_dim=rows, output_dim=width, mask_zero=mask_zero), name=name)


# ---- recurrent layers, by torch.nn ----


def lstm_weights(m, name, width, units, bias=True):
    net = torch.nn.LSTM(width, units, batch_first=True, bias=bias)
    k, r = m.weight(name, "kernel", [width, 4 * units]), m.weight(name, "recurrent_kernel", [units, 4 * units])
    with torch.no_grad():  # gates: i, f, c, o in both
        net.weight_ih_l0.copy_(k.T)
        net.weight_hh_l0.copy_(r.T)
        if bias:
            net.bias_ih_l0.copy_(m.weight(name, "bias", [4 * units]))
            net.bias_hh_l0.zero_()
    return net


def gru_weights(m, name, width, units, bias=True):
    net = torch.nn.GRU(width, units, batch_first=True, bias=bias)
    order = torch.cat([torch.arange(units) + units * g for g in (1, 0, 2)])  # Keras z, r, h; PyTorch r, z, n
    k, r = m.weight(name, "kernel", [width, 3 * units]), m.weight(name, "recurrent_kernel", [units, 3 * units])
    with torch.no_grad():
        net.weight_ih_l0.copy_(k.T[order])
        net.weight_hh_l0.copy_(r.T[order])
        if bias:
            b = m.weight(name, "bias", [2, 3 * units])
            net.bias_ih_l0.copy_(b[0][order])
            net.bias_hh_l0.copy_(b[1][order])
    return net


def rnn_weights(m, name, width, units):
    net = torch.nn.RNN(width, units, batch_first=True)
    with torch.no_grad():
        net.weight_ih_l0.copy_(m.weight(name, "kernel", [width, units]).T)
        net.weight_hh_l0.copy_(m.weight(name, "recurrent_kernel", [units, units]).T)
        net.bias_ih_l0.copy_(m.weight(name, "bias", [units]))
        net.bias_hh_l0.zero_()
    return net


WEIGHTS = {"LSTM": lstm_weights, "GRU": gru_weights, "SimpleRNN": rnn_weights}


def recurrent_config(m, kind, units, sequences, states, backwards, bias):
    config = dict(return_sequences=sequences, return_state=states, go_backwards=backwards, stateful=False, unroll=False,
                  units=units, activation="tanh", use_bias=bias, dropout=0.0, recurrent_dropout=0.0)
    if kind != "SimpleRNN":
        config["recurrent_activation"] = "sigmoid"
    if kind == "GRU":
        config["reset_after"] = True
    if kind == "LSTM":
        config["unit_forget_bias"] = True
    if m.keras == 3:
        config.update(zero_output_for_mask=False, seed=None)
    return config


def run(net, x, backwards, sequences):
    y, state = net(x.flip(1) if backwards else x)
    states = [s[0] for s in (state if isinstance(state, tuple) else (state,))]
    return (y if sequences else y[:, -1]).detach(), [s.detach() for s in states]


def recurrent(m, x, kind, units, sequences=False, states=False, backwards=False, bias=True):
    name = m.name(kind)
    net = WEIGHTS[kind](m, name, x.shape[-1], units, *([bias] if kind != "SimpleRNN" else []))
    y, last_states = run(net, x.value, backwards, sequences)
    return m.layer(kind, [x], [y] + last_states if states else y,
                   recurrent_config(m, kind, units, sequences, states, backwards, bias), name=name)


def bidirectional(m, x, kind, units, mode, sequences):
    name, values, inner = m.name("Bidirectional"), [], []
    for direction in ("forward", "backward"):
        own = "%s_%s" % (direction, snake(kind))
        net = WEIGHTS[kind](m, "%s/%s/%s_cell" % (name, own, snake(kind)), x.shape[-1], units)
        y, _ = run(net, x.value, direction == "backward", sequences)
        values.append(y.flip(1) if sequences and direction == "backward" else y)
        config = {"name": own, "trainable": True, "dtype": m.dtype()}
        config.update(recurrent_config(m, kind, units, sequences, False, direction == "backward", True))
        inner.append({"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None})
    a, b = values
    y = {"concat": lambda: torch.cat([a, b], -1), "sum": lambda: a + b, "mul": lambda: a * b, "ave": lambda: (a + b) / 2}[mode]()
    return m.layer("Bidirectional", [x], y, dict(merge_mode=mode, layer=inner[0], backward_layer=inner[1]), name=name)


# ---- attention ----


def attend(q, k, v, scale, allowed=None, causal=False):
    """(N, T, H, d) each."""
    scores = torch.einsum("nqhd,nkhd->nhqk", q, k) * scale
    if causal:
        allowed = torch.tril(torch.ones(scores.shape[-2:], dtype=torch.bool))
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -1e9)
    return torch.einsum("nhqk,nkhd->nqhd", F.softmax(scores, -1), v)


def multi_head(m, query, value, heads, key_dim, value_dim=None, key=None, causal=False, use_bias=True, allowed=None,
               output=None):
    name = m.name("MultiHeadAttention")
    vd, width = value_dim or key_dim, query.shape[-1]

    def project(x, part, size):
        w = m.weight(name, part + "/kernel", [x.shape[-1], heads, size])
        b = m.weight(name, part + "/bias", [heads, size]) if use_bias else 0
        return torch.einsum("ntc,chd->nthd", x.value, w) + b

    q, k, v = project(query, "query", key_dim), project(key or value, "key", key_dim), project(value, "value", vd)
    y = attend(q, k, v, 1 / math.sqrt(key_dim), allowed, causal)
    w = m.weight(name, "attention_output/kernel", [heads, vd, output or width])
    y = torch.einsum("nthd,hdc->ntc", y, w) + (m.weight(name, "attention_output/bias", [output or width]) if use_bias else 0)
    config = dict(num_heads=heads, key_dim=key_dim, value_dim=vd, dropout=0.0, use_bias=use_bias,
                  output_shape=[output] if output else None, attention_axes=[1])
    if m.keras == 3:
        config.update(seed=None)
    args = [query, value] + ([key] if key else [])
    return m.layer("MultiHeadAttention", args, y, config, {"use_causal_mask": True} if causal else {}, name=name)


# ---- cases ----


def one(name, build, *shapes, **options):
    keras = options.pop("keras", 3)
    m = Model(keras)
    inputs = [m.input(shape, **options) for shape in shapes]
    case(name, m, build(m, *inputs))


def convolutions():
    for i, (kernel, strides, padding, dilation, groups) in enumerate([
            ([3, 3], [1, 1], "same", None, 2), ([3, 2], [2, 2], "same", None, 3), ([1, 1], [1, 1], "valid", None, 6),
            ([3, 3], [1, 1], "valid", [2, 1], 2), ([5, 5], [1, 1], "same", None, 1), ([2, 2], [3, 3], "same", None, 1)]):
        one("conv2d_grouped/%d" % i, lambda m, x: conv(m, x, 6, kernel, strides, padding, dilation, groups), [7, 8, 6])
    for i, (kernel, strides, padding, dilation, groups) in enumerate([
            (3, 1, "causal", 1, 1), (2, 1, "causal", 3, 1), (3, 2, "causal", 1, 1), (3, 1, "same", 1, 2),
            (4, 3, "valid", 1, 2)]):
        one("conv1d/%d" % i, lambda m, x: conv(m, x, 4, [kernel], [strides], padding, [dilation], groups), [9, 4])
    for i, (kernel, strides, padding, multiplier) in enumerate([(3, 1, "same", 1), (2, 2, "valid", 2), (4, 2, "same", 1)]):
        one("depthwise_conv1d/%d" % i, lambda m, x: depthwise(m, x, [kernel], [strides], padding, None, multiplier), [9, 3])
        one("separable_conv1d/%d" % i, lambda m, x: separable1d(m, x, 4, kernel, strides, padding, multiplier, "relu"), [9, 3])
        one("conv1d_transpose/%d" % i, lambda m, x: conv_transpose(m, x, 3, [kernel], [strides], padding), [5, 4])
    for i, (kernel, strides, padding) in enumerate([([3, 3], [2, 2], "same"), ([2, 4], [3, 1], "valid"), ([1, 2], [2, 3], "valid"),
                                                    ([4, 4], [2, 2], "same"), ([1, 1], [2, 2], "same")]):
        one("conv2d_transpose/%d" % i, lambda m, x: conv_transpose(m, x, 3, kernel, strides, padding, i % 2 == 0), [4, 5, 4])
    one("depthwise_conv2d/0", lambda m, x: depthwise(m, x, [3, 3], [1, 1], "same", [2, 2], 2, False), [7, 6, 3])


def shapes():
    one("cropping1d/0", lambda m, x: m.layer("Cropping1D", [x], x.value[:, 1:-2], dict(cropping=[1, 2])), [7, 3])
    one("zero_padding1d/0", lambda m, x: m.layer("ZeroPadding1D", [x], F.pad(x.value, [0, 0, 1, 2]), dict(padding=[1, 2])), [5, 3])
    one("up_sampling1d/0", lambda m, x: m.layer("UpSampling1D", [x], x.value.repeat_interleave(3, 1), dict(size=3)), [4, 3])
    for i, (height, width) in enumerate([(7, 3), (2, 8), (5, 4)]):
        for kind, mode in (("bilinear", "bilinear"), ("nearest", "nearest-exact")):
            def resize(m, x):
                options = dict(align_corners=False) if kind == "bilinear" else {}
                y = last(F.interpolate(first(x.value), size=[height, width], mode=mode, **options))
                return m.layer("Resizing", [x], y, dict(height=height, width=width, interpolation=kind,
                                                        crop_to_aspect_ratio=False))
            one("resizing_%s/%d" % (kind, i), resize, [5, 4, 2])
    for i, (height, width) in enumerate([(2, 2), (1, 3)]):
        def enlarge(m, x):
            y = last(F.interpolate(first(x.value), size=[3 * height, 4 * width], mode="bilinear", align_corners=False))
            return m.layer("UpSampling2D", [x], y, dict(size=[height, width], data_format="channels_last",
                                                        interpolation="bilinear"))
        one("up_sampling2d_bilinear/%d" % i, enlarge, [3, 4, 2])
    one("depth_to_space/0", lambda m, x: m.layer("DepthToSpace", [x], dcr(x.value, 2), dict(block_size=2)), [3, 4, 8])
    one("space_to_depth/0", lambda m, x: m.layer("SpaceToDepth", [x], space_to_depth(x.value, 2), dict(block_size=2)), [4, 6, 3])
    one("rescaling/0", lambda m, x: m.layer("Rescaling", [x], x.value * torch.tensor([0.5, 2, 0.25]) + torch.tensor([1.0, 0, -1]),
                                            dict(scale=[0.5, 2.0, 0.25], offset=[1.0, 0.0, -1.0])), [3, 4, 3])
    for kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        one("%s_keepdims/0" % snake(kind), lambda m, x: global_pool(m, x, kind, True), [4, 5, 3])
    for kind in ("GlobalAveragePooling1D", "GlobalMaxPooling1D"):
        one("%s_keepdims/0" % snake(kind), lambda m, x: global_pool(m, x, kind, True), [5, 3])
    one("spatial_dropout2d/0", lambda m, x: m.layer("SpatialDropout2D", [x], x.value, dict(rate=0.5)), [3, 4, 3])
    one("identity/0", lambda m, x: m.layer("Identity", [x], x.value), [3, 4])
    one("stochastic_depth/0", lambda m, x: m.layer("StochasticDepth", [x], x.value, dict(drop_path_rate=0.5)), [3, 4, 2])
    one("activity_regularization/0", lambda m, x: m.layer("ActivityRegularization", [x], x.value, dict(l1=0.1, l2=0.2)), [5])


def dcr(x, block):
    """TensorFlow's depth_to_space: channel (i * block + j) * C + c goes to row i, column j."""
    n, h, w, c = x.shape
    y = x.reshape(n, h, w, block, block, c // block ** 2)
    return y.permute(0, 1, 3, 2, 4, 5).reshape(n, h * block, w * block, c // block ** 2)


def space_to_depth(x, block):
    n, h, w, c = x.shape
    y = x.reshape(n, h // block, block, w // block, block, c)
    return y.permute(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, c * block ** 2)


def elementwise():
    for kind, function in ACTIVATIONS.items():
        if function:
            one("activation_%s/0" % kind, lambda m, x: activation(m, x, kind), [4, 5])
    for kind, function in (("gelu", F.gelu), ("hard_sigmoid", F.hardsigmoid), ("silu", F.silu)):
        one("conv2d_%s/0" % kind, lambda m, x: conv(m, x, 3, [2, 2], activation=kind), [4, 4, 2])
    # Keras 2: clip(0.2 x + 0.5, 0, 1); "swish".
    one("activation_hard_sigmoid_keras2/0", lambda m, x: m.layer("Activation", [x], (0.2 * x.value + 0.5).clamp(0, 1),
                                                                 dict(activation="hard_sigmoid")), [4, 5], keras=2)
    one("activation_swish_keras2/0", lambda m, x: m.layer("Activation", [x], F.silu(x.value), dict(activation="swish")), [4, 5], keras=2)
    one("elu_alpha/0", lambda m, x: m.layer("ELU", [x], F.elu(x.value, 0.5), dict(alpha=0.5)), [4, 5])
    one("leaky_relu/0", lambda m, x: m.layer("LeakyReLU", [x], F.leaky_relu(x.value, 0.1), dict(negative_slope=0.1)), [4, 5])
    one("leaky_relu_keras2/0", lambda m, x: m.layer("LeakyReLU", [x], F.leaky_relu(x.value, 0.3), dict(alpha=0.3)), [4, 5], keras=2)
    one("relu/0", lambda m, x: m.layer("ReLU", [x], torch.where(x.value > 0.5, x.value.clamp(max=1.5), 0.25 * (x.value - 0.5)),
                                       dict(max_value=1.5, negative_slope=0.25, threshold=0.5)), [4, 5])
    one("softmax_axis/0", lambda m, x: m.layer("Softmax", [x], F.softmax(x.value, 1), dict(axis=1)), [4, 5])
    one("subtract/0", lambda m, a, b: merge(m, "Subtract", [a, b], a.value - b.value), [3, 4], [3, 4])
    one("subtract/1", lambda m, a, b: merge(m, "Subtract", [a, b], a.value - b.value), [2, 3, 4], [1, 1, 4])
    one("maximum_broadcast/0", lambda m, a, b: merge(m, "Maximum", [a, b], torch.maximum(a.value, b.value)), [2, 3, 4], [2, 1, 4])
    one("concatenate/0", lambda m, a, b: merge(m, "Concatenate", [a, b], torch.cat([a.value, b.value], -2), dict(axis=-2)), [3, 4], [2, 4])


def normalizations():
    def group(m, x, groups, epsilon):
        name, c = m.name("GroupNormalization"), x.shape[-1]
        gamma, beta = m.weight(name, "gamma", [c]), m.weight(name, "beta", [c])
        y = last(F.group_norm(first(x.value), c if groups == -1 else groups, gamma, beta, epsilon))
        return m.layer("GroupNormalization", [x], y, dict(groups=groups, axis=-1, epsilon=epsilon, center=True, scale=True), name=name)

    for i, groups in enumerate((2, 1, -1)):
        one("group_normalization/%d" % i, lambda m, x: group(m, x, groups, 1e-3), [4, 5, 6])
    one("group_normalization/3", lambda m, x: group(m, x, 3, 1e-2), [5, 6])

    def rms(m, x):
        name, c = m.name("RMSNormalization"), x.shape[-1]
        scale = m.weight(name, "scale", [c])
        y = x.value * torch.rsqrt(x.value.square().mean(-1, keepdim=True) + 1e-6) * scale
        return m.layer("RMSNormalization", [x], y, dict(axis=-1, epsilon=1e-6), name=name)

    one("rms_normalization/0", rms, [4, 6])
    one("unit_normalization/0", lambda m, x: m.layer("UnitNormalization", [x], F.normalize(x.value, dim=-1), dict(axis=-1)), [4, 6])
    one("unit_normalization/1", lambda m, x: m.layer("UnitNormalization", [x], F.normalize(x.value, dim=1), dict(axis=1)), [4, 6])
    one("layer_normalization/0", lambda m, x: layer_norm(m, x, 1e-6), [3, 4, 5])
    one("batch_normalization_axis/0", lambda m, x: batch_norm(m, x, 1e-3, 1), [3, 4, 5])

    def scaled(m, x):
        name, c = m.name("LayerScale"), x.shape[-1]
        gamma = m.weight(name, "gamma", [c])
        return m.layer("LayerScale", [x], x.value * gamma, dict(init_values=1e-6, projection_dim=c), name=name,
                       module="keras.src.applications.convnext", registered="LayerScale")

    one("layer_scale/0", scaled, [3, 4, 5])

    def normalization(m, x, stored):
        name, c = m.name("Normalization"), x.shape[-1]
        if stored:
            mean, variance = m.weight(name, "mean", [c]), m.weight(name, "variance", [c])
            m.weight(name, "count", [])
            config = dict(axis=[-1], invert=False, mean=None, variance=None)
        else:
            mean, variance = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([4.0, 0.25, 1.0])
            config = dict(axis=[-1], invert=False, mean=mean.tolist(), variance=variance.tolist())
        if m.keras == 2:
            config.pop("invert")
        return m.layer("Normalization", [x], (x.value - mean) / variance.sqrt(), config, name=name)

    for keras in (2, 3):
        for stored in (True, False):
            one("normalization_keras%d/%d" % (keras, stored), lambda m, x: normalization(m, x, stored), [3, 4, 3], keras=keras)


def sequences():
    for kind in WEIGHTS:
        for i, (sequence, backwards) in enumerate([(True, False), (False, False), (True, True), (False, True)]):
            one("%s/%d" % (snake(kind), i), lambda m, x: recurrent(m, x, kind, 4, sequence, False, backwards), [6, 3])
        one("%s/4" % snake(kind), lambda m, x: recurrent(m, x, kind, 3, True, True), [5, 3])
        one("%s_keras2/0" % snake(kind), lambda m, x: recurrent(m, x, kind, 4, True), [5, 3], keras=2)
        for j, mode in enumerate(("concat", "sum", "mul", "ave")):
            one("bidirectional_%s/%d" % (snake(kind), j), lambda m, x: bidirectional(m, x, kind, 3, mode, j % 2 == 0), [5, 4])
    one("gru_no_bias/0", lambda m, x: recurrent(m, x, "GRU", 4, True, False, False, False), [5, 3])
    def cudnn(m, x, kind, units):
        """With weights as tf.keras converts those of cuDNN (hdf5_format.py): as LSTM and GRU have them."""
        name = m.name("CuDNN" + kind)
        net = WEIGHTS[kind](m, name, x.shape[-1], units)
        y, _ = run(net, x.value, False, True)
        return m.layer("CuDNN" + kind, [x], y, dict(units=units, return_sequences=True, return_state=False, go_backwards=False,
                                                    stateful=False), name=name)

    one("cudnn_lstm/0", lambda m, x: cudnn(m, x, "LSTM", 3), [5, 4], keras=2)
    one("cudnn_gru/0", lambda m, x: cudnn(m, x, "GRU", 3), [5, 4], keras=2)
    one("embedding/0", lambda m, x: embedding(m, x, 8, 3), [6], integers=8)
    one("embedding_of_matrix/0", lambda m, x: embedding(m, x, 8, 3), [3, 4], integers=8)

    def distributed(m, x):
        name = m.name("TimeDistributed")
        w, b = m.weight(name, "kernel", [x.shape[-1], 4]), m.weight(name, "bias", [4])
        inner = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {
            "name": "inner", "trainable": True, "dtype": m.dtype(), "units": 4, "activation": "relu", "use_bias": True}}
        return m.layer("TimeDistributed", [x], F.relu(F.linear(x.value, w.T, b)), dict(layer=inner), name=name)

    one("time_distributed/0", distributed, [5, 3])


def attentions():
    one("multi_head_attention/0", lambda m, x: multi_head(m, x, x, 2, 3), [5, 6])
    one("multi_head_attention/1", lambda m, x: multi_head(m, x, x, 3, 2, 4, None, True), [5, 6])
    one("multi_head_attention/2", lambda m, q, v: multi_head(m, q, v, 2, 3, None, None, False, False), [4, 6], [7, 5])
    one("multi_head_attention/3", lambda m, q, v, k: multi_head(m, q, v, 2, 3, 2, k, False, True, None, 4), [4, 6], [7, 5], [7, 3])
    one("multi_head_attention_keras2/0", lambda m, x: multi_head(m, x, x, 2, 3), [5, 6], keras=2)

    def masked(m, x):
        mask = x.value != 0
        y = embedding(m, x, 8, 6, True)
        y = multi_head(m, y, y, 2, 3, allowed=mask[:, None, :, None] & mask[:, None, None, :])
        w = mask[:, :, None].float()
        return m.layer("GlobalAveragePooling1D", [y], (y.value * w).sum(1) / w.sum(1), dict(data_format="channels_last", keepdims=False))

    one("multi_head_attention_masked/0", masked, [7], integers=8, padded=True)

    def grouped(m, x, heads, groups, d):
        name, c = m.name("GroupedQueryAttention"), x.shape[-1]
        project = lambda part, h: torch.einsum("ntc,chd->nthd", x.value, m.weight(name, part + "/kernel", [c, h, d])) + m.weight(name, part + "/bias", [h, d])
        q, k, v = project("query", heads), project("key", groups), project("value", groups)
        k, v = (t.repeat_interleave(heads // groups, 2) for t in (k, v))
        y = attend(q, k, v, 1 / math.sqrt(d))
        y = torch.einsum("nthd,hdc->ntc", y, m.weight(name, "attention_output/kernel", [heads, d, c])) + m.weight(name, "attention_output/bias", [c])
        return m.layer("GroupedQueryAttention", [x, x], y, dict(head_dim=d, num_query_heads=heads, num_key_value_heads=groups,
                                                              dropout=0.0, use_bias=True), name=name)

    one("group_query_attention/0", lambda m, x: grouped(m, x, 4, 2, 3), [5, 6])

    def luong(m, q, v, k=None, scale=False, mode="dot", causal=False):
        name = m.name("Attention")
        key = (k or v).value
        s = m.weight(name, "scale", []) if scale else 1.0
        if mode == "dot":
            scores = s * q.value @ key.transpose(1, 2)
        else:
            c = m.weight(name, "concat_score_weight", [])
            scores = c * torch.tanh(s * (q.value[:, :, None] + key[:, None])).sum(-1)
        if causal:
            scores = scores.masked_fill(~torch.tril(torch.ones(scores.shape[1:], dtype=torch.bool)), -1e9)
        config = dict(use_scale=scale, score_mode=mode, dropout=0.0)
        inputs = [q, v] + ([k] if k else [])
        return m.layer("Attention", [inputs], F.softmax(scores, -1) @ v.value, config,
                       {"use_causal_mask": True} if causal else {}, name=name)

    one("attention/0", lambda m, q, v: luong(m, q, v), [4, 3], [5, 3])
    one("attention/1", lambda m, q, v, k: luong(m, q, v, k, True), [4, 3], [5, 2], [5, 3])
    one("attention/2", lambda m, q, v: luong(m, q, v, None, True, "concat"), [4, 3], [5, 3])
    one("attention/3", lambda m, q, v: luong(m, q, v, None, False, "dot", True), [5, 3], [5, 3])

    def additive(m, q, v, scale):
        name = m.name("AdditiveAttention")
        s = m.weight(name, "scale", [q.shape[-1]]) if scale else 1.0
        scores = (s * torch.tanh(q.value[:, :, None] + v.value[:, None])).sum(-1)
        return m.layer("AdditiveAttention", [[q, v]], F.softmax(scores, -1) @ v.value, dict(use_scale=scale, dropout=0.0), name=name)

    one("additive_attention/0", lambda m, q, v: additive(m, q, v, True), [4, 3], [5, 3])
    one("additive_attention/1", lambda m, q, v: additive(m, q, v, False), [4, 3], [5, 3])

    def einsum(m, x, equation, shape, kernel, bias):
        name = m.name("EinsumDense")
        w = m.weight(name, "kernel", kernel)
        y = torch.einsum(equation, x.value, w)
        if bias:
            sizes = dict(zip(equation.split("->")[1][1:], shape))
            y = y + m.weight(name, "bias", [sizes[axis] for axis in bias])
        return m.layer("EinsumDense", [x], y, dict(equation=equation, output_shape=shape, activation="linear",
                                                   bias_axes=bias), name=name)

    one("einsum_dense/0", lambda m, x: einsum(m, x, "ab,bc->ac", [4], [5, 4], "c"), [5])
    one("einsum_dense/1", lambda m, x: einsum(m, x, "abc,cd->abd", [3, 4], [5, 4], "d"), [3, 5])
    one("einsum_dense/2", lambda m, x: einsum(m, x, "abc,cde->abde", [3, 2, 4], [5, 2, 4], "de"), [3, 5])
    one("einsum_dense/3", lambda m, x: einsum(m, x, "abcd,cde->abe", [3, 6], [2, 4, 6], None), [3, 2, 4])
    one("dot_normalized/0", lambda m, a, b: merge(m, "Dot", [a, b], (F.normalize(a.value, dim=2) @ F.normalize(b.value, dim=2).transpose(1, 2)),
                                                  dict(axes=[2, 2], normalize=True)), [3, 4], [5, 4])


def operations():
    """Operations among layers: nodes of Keras 3, TFOpLambda of Keras 2."""
    def operation(m, kind, args, value, kwargs=None):
        name = m.name(kind)
        m.append(kind, name, {"name": name}, args, kwargs or {}, module="keras.src.ops.numpy", registered=kind)
        return Tensor(value, name)

    def lambda_(m, function, x, value, **kwargs):
        name = "tf.%s_%d" % (function, len(m.layers))
        m.layers.append({"class_name": "TFOpLambda", "name": name,
                         "config": {"name": name, "trainable": True, "dtype": "float32", "function": function},
                         "inbound_nodes": [[x.layer, 0, x.output, dict({k: m.reference(v) for k, v in kwargs.items()}, name=None)]]})
        return Tensor(value, name)

    def both(m, a, b):
        y = operation(m, "Add", [a, b], a.value + b.value)
        y = operation(m, "Multiply", [y, 0.5], y.value * 0.5)
        y = operation(m, "Subtract", [y, b], y.value - b.value)
        return operation(m, "Add", [1.0, y], y.value + 1)

    one("operations/0", both, [3, 4], [3, 4])

    def keras2(m, a, b):
        y = lambda_(m, "__operators__.add", a, a.value + b.value, y=b)
        y = lambda_(m, "math.multiply", y, y.value * 0.25, y=0.25)
        y = lambda_(m, "math.subtract", y, y.value - b.value, y=b)
        return dense(m, y, 3)

    one("operations_keras2/0", keras2, [4], [4], keras=2)
    return operation, lambda_


# ---- families of keras.applications ----


def mobilenet_v3(keras, operation, lambda_):
    m = Model(keras)
    x = m.input([24, 24, 3], scale=100.0)

    def hard_sigmoid(y):
        if keras == 3:
            z = operation(m, "Add", [y, 3.0], y.value + 3)
        else:
            z = lambda_(m, "__operators__.add", y, y.value + 3, y=3.0)
        z = m.layer("ReLU", [z], F.relu6(z.value), dict(max_value=6.0, negative_slope=0.0, threshold=0.0))
        if keras == 3:
            return operation(m, "Multiply", [z, 1 / 6], z.value * (1 / 6))
        return lambda_(m, "math.multiply", z, z.value * (1 / 6), y=1 / 6)

    def hard_swish(y):
        if keras == 3:
            return activation(m, y, "hard_silu")
        s = hard_sigmoid(y)
        return merge(m, "Multiply", [y, s], y.value * s.value)

    relu = lambda y: m.layer("ReLU", [y], F.relu(y.value), dict(max_value=None, negative_slope=0.0, threshold=0.0))
    y = m.layer("Rescaling", [x], x.value * (1 / 127.5) - 1, dict(scale=1 / 127.5, offset=-1.0))
    y = hard_swish(batch_norm(m, conv(m, y, 8, [3, 3], [2, 2], "same", use_bias=False)))
    for expansion, filters, kernel, stride, squeeze, act in [(1, 8, 3, 2, True, relu), (3, 8, 3, 1, False, relu),
                                                             (3, 12, 5, 2, True, hard_swish), (2, 12, 5, 1, True, hard_swish)]:
        before = y
        if expansion > 1:
            y = act(batch_norm(m, conv(m, y, expansion * y.shape[-1], [1, 1], padding="same", use_bias=False)))
        if stride == 2:
            h, w = y.shape[1:3]
            p = kernel // 2
            pads = [[p - (1 - h % 2), p], [p - (1 - w % 2), p]]
            y = m.layer("ZeroPadding2D", [y], F.pad(y.value, [0, 0] + pads[1] + pads[0]), dict(padding=pads, data_format="channels_last"))
        y = depthwise(m, y, [kernel, kernel], [stride, stride], "same" if stride == 1 else "valid", use_bias=False)
        y = act(batch_norm(m, y))
        if squeeze:
            s = global_pool(m, y, "GlobalAveragePooling2D", True)
            s = relu(conv(m, s, 4, [1, 1], padding="same"))
            s = hard_sigmoid(conv(m, s, y.shape[-1], [1, 1], padding="same"))
            y = merge(m, "Multiply", [y, s], y.value * s.value)
        y = batch_norm(m, conv(m, y, filters, [1, 1], padding="same", use_bias=False))
        if stride == 1 and before.shape[-1] == filters:
            y = add(m, before, y)
    y = hard_swish(batch_norm(m, conv(m, y, 24, [1, 1], padding="same", use_bias=False)))
    y = global_pool(m, y, "GlobalAveragePooling2D", True)
    y = hard_swish(conv(m, y, 16, [1, 1], padding="same"))
    y = m.layer("Dropout", [y], y.value, dict(rate=0.2))
    y = conv(m, y, 5, [1, 1], padding="same")
    y = m.layer("Flatten", [y], y.value.flatten(1), dict(data_format="channels_last"))
    case("family/mobilenet_v3_keras%d" % keras, m, activation(m, y, "softmax"))


def convnext(operation):
    m = Model(3)
    x = m.input([32, 32, 3], scale=100.0)
    mean, variance = [123.675, 116.28, 103.53], [3410.6, 3262.7, 3291.9]
    y = m.layer("Normalization", [x], (x.value - torch.tensor(mean)) / torch.tensor(variance).sqrt(),
                dict(axis=[-1], invert=False, mean=mean, variance=variance))

    def stage(y, name, layers):
        """A nested Sequential of [("norm",) or ("conv", filters, size)]."""
        inner, shape = Model(3), y.shape
        inner.weights = m.weights
        inputs = Tensor(y.value, name + "_input")
        inner.layers.append({"class_name": "InputLayer", "module": "keras.layers", "registered_name": None, "config": {
            "batch_shape": [None] + shape[1:], "dtype": "float32", "sparse": False, "name": name + "_input"}})
        z = inputs
        for i, layer in enumerate(layers):
            own = "%s_%d" % (name, i)
            z = layer_norm(inner, z, 1e-6, own) if layer[0] == "norm" else conv(inner, z, layer[1], [layer[2]] * 2, [layer[2]] * 2, name=own)
        for layer in inner.layers:
            layer.pop("name", None)
            layer.pop("inbound_nodes", None)
        return m.layer("Sequential", [y], z.value, {"layers": inner.layers, "build_input_shape": [None] + shape[1:]}, name=name)

    y = stage(y, "stem", [("conv", 8, 4), ("norm",)])
    for i, filters in enumerate((8, 12)):
        if i:
            y = stage(y, "downsampling_%d" % i, [("norm",), ("conv", filters, 2)])
        for block in range(2):
            z = conv(m, y, filters, [7, 7], padding="same", groups=filters)
            z = dense(m, layer_norm(m, z, 1e-6), 4 * filters)
            z = dense(m, activation(m, z, "gelu"), filters)
            name = m.name("LayerScale")
            gamma = m.weight(name, "gamma", [filters])
            z = m.layer("LayerScale", [z], z.value * gamma, dict(init_values=1e-6, projection_dim=filters), name=name,
                        module="keras.src.applications.convnext", registered="LayerScale")
            z = activation(m, z, "linear")
            y = operation(m, "Add", [y, z], y.value + z.value)
    y = layer_norm(m, global_pool(m, y), 1e-6)
    case("family/convnext", m, dense(m, y, 5, "softmax"))


def efficientnet_front():
    m = Model(3)
    x = m.input([8, 8, 3], scale=100.0)
    y = m.layer("Rescaling", [x], x.value / 255, dict(scale=1 / 255, offset=0.0))
    name = m.name("Normalization")
    mean, variance = m.weight(name, "mean", [3]), m.weight(name, "variance", [3])
    m.weight(name, "count", [])
    y = m.layer("Normalization", [y], (y.value - mean) / variance.sqrt(), dict(axis=[3], invert=False, mean=None, variance=None), name=name)
    scale = [1 / math.sqrt(s) for s in (0.229, 0.224, 0.225)]
    y = m.layer("Rescaling", [y], y.value * torch.tensor(scale), dict(scale=scale, offset=0.0))
    y = m.layer("ZeroPadding2D", [y], F.pad(y.value, [0, 0, 0, 1, 0, 1]), dict(padding=[[0, 1], [0, 1]], data_format="channels_last"))
    y = activation(m, batch_norm(m, conv(m, y, 6, [3, 3], [2, 2], use_bias=False)), "silu")
    case("family/efficientnet_front", m, dense(m, global_pool(m, y), 5, "softmax"))


def transformer():
    m = Model(3)
    x = m.input([8], integers=20)
    y = embedding(m, x, 20, 8)
    for _ in range(2):
        y = layer_norm(m, add(m, y, multi_head(m, y, y, 2, 4, causal=True)), 1e-6)
        y = layer_norm(m, add(m, y, dense(m, dense(m, y, 16, "gelu"), 8)), 1e-6)
    case("family/transformer", m, [dense(m, y, 20, "softmax"), global_pool(m, y, "GlobalAveragePooling1D")])


def augmentations():
    layers = [
        ("RandomFlip", dict(mode="horizontal")),
        ("RandomRotation", dict(factor=0.1)),
        ("RandomRotation", dict(factor=[-0.1, 0.2], fill_mode="constant", interpolation="nearest", fill_value=1.0)),
        ("RandomZoom", dict(height_factor=[-0.2, 0.3], width_factor=None)),
        ("RandomTranslation", dict(height_factor=0.1, width_factor=[0.1, 0.2], fill_mode="wrap")),
        ("RandomContrast", dict(factor=[0.2, 0.3])),
        ("RandomBrightness", dict(factor=0.2, value_range=[0, 1])),
        ("RandomHeight", dict(factor=0.2)),
        ("RandomWidth", dict(factor=[0.2, 0.3], interpolation="nearest")),
    ]
    for i, (name, config) in enumerate(layers):
        one(f"augmentation/{i}", lambda m, x: m.layer(name, [x], x.value, config), [5, 6, 3])


with torch.no_grad():
    convolutions()
    shapes()
    elementwise()
    normalizations()
    sequences()
    attentions()
    of_keras3, of_keras2 = operations()
    mobilenet_v3(3, of_keras3, of_keras2)
    mobilenet_v3(2, of_keras3, of_keras2)
    convnext(of_keras3)
    efficientnet_front()
    transformer()
    augmentations()
text = ("\n".join(cases) + "\n").encode()
with open(sys.argv[1], "wb") as out:
    out.write(gzip.compress(text, 9, mtime=0))
print("%d cases, %d bytes" % (len(cases), len(text)))
