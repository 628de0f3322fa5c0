"""Distillation of the Fashion-MNIST source into a network half as wide from random weights, by PyTorch: the peer of
scripts/bench/fine_tuning.sh.

torch_distil.py SOURCE.h5 THREADS EPOCHS     prints "epoch seconds accuracy" after each epoch: seconds since the data
were read, without those of testing. AdamW, cosine, batch 128, 0.9 of the source's logits at temperature 2, computed once."""
import math
import os
import sys
import time

import h5py
import torch
import torch.nn.functional as F
from torch import nn

from torch_train import BATCH, block, read

STRIDES = [2, 1, 1, 2, 1, 2, 1]
WIDTHS = [32, 32, 32, 64, 64, 128, 128]


def network(widths):
    layers, cin = [], 1
    for cout, stride in zip(widths, STRIDES):
        layers += block(cin, cout, stride)
        cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 10))


def same(x, stride):
    """TensorFlow pads the odd cell after."""
    total = [max((-(-n // stride) - 1) * stride + 3 - n, 0) for n in x.shape[2:]]
    return F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))


def source(path):
    found = {}
    with h5py.File(path) as f:
        f["model_weights"].visititems(
            lambda name, x: found.__setitem__("/".join(name.split("/")[-2:]).split(":")[0], torch.tensor(x[()]))
            if isinstance(x, h5py.Dataset) else None)

    def logits(x):
        for i, stride in enumerate(STRIDES):
            x = F.conv2d(same(x, stride), found[f"conv_{i}/kernel"].permute(3, 2, 0, 1).contiguous(), None, stride)
            x = F.batch_norm(x, found[f"norm_{i}/moving_mean"], found[f"norm_{i}/moving_variance"],
                             found[f"norm_{i}/gamma"], found[f"norm_{i}/beta"], eps=1e-3)
            x = F.relu(x)
        head = next(k for k in found if k.endswith("/kernel") and found[k].dim() == 2)
        return x.mean((2, 3)) @ found[head] + found[head.replace("kernel", "bias")]

    return logits


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x[i:i + 500]).argmax(1) == y[i:i + 500]).sum()) for i in range(0, len(x), 500))
    model.train()
    return right / len(x)


def main():
    threads, epochs = int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    images = [read(f"{p}-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float() / 255 for p in ("train", "t10k")]
    labels = [read(f"{p}-labels-idx1-ubyte.gz", 8).long() for p in ("train", "t10k")]
    images = [x.contiguous(memory_format=torch.channels_last) for x in images]
    begin, testing = time.perf_counter(), 0.0
    teacher = source(sys.argv[1])
    with torch.no_grad():
        logits = torch.cat([teacher(images[0][i:i + 500]) for i in range(0, len(images[0]), 500)])
    if os.environ.get("CHECK"):
        print("# source accuracy", float((logits.argmax(1) == labels[0]).float().mean()))
    model = network([w // 2 for w in WIDTHS]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-4)
    steps = len(images[0]) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / (0.05 * steps * epochs), 0.5 + 0.5 * math.cos(math.pi * s / (steps * epochs))))
    for epoch in range(epochs):
        order = torch.randperm(len(images[0]))
        for step in range(steps):
            index = order[step * BATCH:(step + 1) * BATCH]
            z, t = model(images[0][index]), logits[index]
            loss = 0.1 * F.cross_entropy(z, labels[0][index]) + 0.9 * 4 * F.kl_div(
                F.log_softmax(z / 2, 1), F.softmax(t / 2, 1), reduction="batchmean")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        now = time.perf_counter()
        seconds = now - begin - testing
        found = accuracy(model, images[1], labels[1])
        testing += time.perf_counter() - now
        print(epoch + 1, f"{seconds:.1f}", f"{100 * found:.2f}", flush=True)


main()
