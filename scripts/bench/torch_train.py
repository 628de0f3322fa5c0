"""The Fashion-MNIST source network trained by PyTorch: the peer of scripts/bench/training.sh.

torch_train.py THREADS STEPS [RANK WORLD PORT]   prints samples a second (of all ranks), median over ten stretches.
With RANK and WORLD: DistributedDataParallel over gloo, the global batch of 128 split over the ranks."""
import gzip
import os
import sys
import time

import torch
from torch import nn

FOLDER = os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
BATCH = 128


def read(name, header):
    with gzip.open(os.path.join(FOLDER, name)) as f:
        return torch.frombuffer(bytearray(f.read()[header:]), dtype=torch.uint8)


def block(cin, cout, stride):
    return [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]


def network():
    layers, cin = [], 1
    for cout, stride in [(32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)]:
        layers += block(cin, cout, stride)
        cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 10))


def main():
    threads, steps = int(sys.argv[1]), int(sys.argv[2])
    rank, world = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 4 else (0, 1)
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    x = read("train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)
    y = read("train-labels-idx1-ubyte.gz", 8).long()
    model = network().to(memory_format=torch.channels_last)
    if world > 1:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", sys.argv[5]
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()
    order = torch.randperm(len(x))
    share = BATCH // world
    stretch, rates, start = max(1, steps // 10), [], 0.0
    for step in range(steps + 10):
        if step == 10:
            start = time.perf_counter()
        at = (step * BATCH) % (len(x) - BATCH) + rank * share
        index = order[at:at + share]
        inputs = (x[index].float() / 255).contiguous(memory_format=torch.channels_last)
        loss = loss_of(model(inputs), y[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step >= 10 and (step - 9) % stretch == 0:
            now = time.perf_counter()
            rates.append(stretch * BATCH / (now - start))
            start = now
    if rank == 0:
        print(sorted(rates)[len(rates) // 2])


if __name__ == "__main__":
    main()
