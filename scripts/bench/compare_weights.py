"""Largest relative difference of two Keras .h5 files: over all weights, max |a - b| / max |a|.

compare_weights.py A.h5 B.h5     prints the difference, and whether the weights are the same bytes."""
import sys

import h5py
import numpy


def weights(path):
    found = {}
    with h5py.File(path) as f:
        f["model_weights"].visititems(lambda name, x: found.update({name: x[()]}) if isinstance(x, h5py.Dataset) else None)
    return found


a, b = weights(sys.argv[1]), weights(sys.argv[2])
if a.keys() != b.keys():
    raise SystemExit("different weights: " + str(sorted(a.keys() ^ b.keys())))
largest = max(float(numpy.abs(a[k] - b[k]).max() / max(numpy.abs(a[k]).max(), 1e-30)) for k in a)
print("%.3g %s" % (largest, "same bytes" if all(a[k].tobytes() == b[k].tobytes() for k in a) else "different bytes"))
