"""An independent reader: accuracy of a Sequential Keras .h5 on Fashion-MNIST, by h5py and PyTorch.

torch_accuracy.py MODEL.h5     prints how many of the 10000 test samples are right. Knows the layers of the
Fashion-MNIST networks: Conv2D ("same"), BatchNormalization, ReLU, GlobalAveragePooling2D, Dense. Compare with
godwit evaluate MODEL.h5 --data configs/fashion_mnist.json --json."""
import gzip
import json
import os
import sys

import h5py
import torch
import torch.nn.functional as F

FOLDER = os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")


def read(name, header):
    with gzip.open(os.path.join(FOLDER, name)) as f:
        return torch.frombuffer(bytearray(f.read()[header:]), dtype=torch.uint8)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def same(x, kernel, stride):
    """TensorFlow's "same": the odd cell goes after."""
    pads = []
    for size, k, s in zip(x.shape[2:], kernel, stride):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads.append((total // 2, total - total // 2))
    return F.pad(x, (*pads[1], *pads[0]))


def apply(layer, weights, x):
    kind, config = layer["class_name"], layer["config"]
    if kind == "Conv2D":
        kernel = weights["kernel"].permute(3, 2, 0, 1)
        x = F.conv2d(same(x, config["kernel_size"], config["strides"]), kernel, weights.get("bias"), tuple(config["strides"]))
    elif kind == "BatchNormalization":
        x = F.batch_norm(x, weights["moving_mean"], weights["moving_variance"], weights["gamma"], weights["beta"],
                         eps=config["epsilon"])
    elif kind == "ReLU":
        x = F.relu(x)
    elif kind == "GlobalAveragePooling2D":
        x = x.mean((2, 3))
    elif kind == "Dense":
        x = x @ weights["kernel"] + weights["bias"]
    elif kind != "InputLayer":
        raise SystemExit("unknown layer " + kind)
    return F.relu(x) if config.get("activation") == "relu" else x


def main():
    with h5py.File(sys.argv[1]) as f:
        model = json.loads(text(f.attrs["model_config"]))
        root, layers = f["model_weights"], model["config"]
        layers = layers["layers"] if isinstance(layers, dict) else layers
        weights = {}
        for layer in layers:
            group = root[layer["config"]["name"]]
            weights[layer["config"]["name"]] = {text(n).split("/")[-1].split(":")[0]: torch.from_numpy(group[text(n)][()])
                                                for n in group.attrs["weight_names"]}
    x = read("t10k-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float() / 255
    y = read("t10k-labels-idx1-ubyte.gz", 8).long()
    correct = 0
    with torch.no_grad():
        for at in range(0, len(x), 500):
            z = x[at:at + 500]
            for layer in layers:
                z = apply(layer, weights[layer["config"]["name"]], z)
            correct += int((z.argmax(1) == y[at:at + 500]).sum())
    print(correct)


main()
