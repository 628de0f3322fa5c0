"""A data set of faces, as unlabelled images for a model of facial expressions: the 100 faces of 25x25 pixels that
scikit-image has of Labeled Faces in the Wild. Of the first half of them, 4,096 views: mirrored, shifted, scaled, brighter
and darker. Of the others, each and its mirror image.
    faces.py lfw_subset.npy OUT.h5
"""

import sys

import h5py
import numpy

SIDE, VIEWS = 64, 4096


def view(face, scale, row, column, mirror, contrast, brightness):
    """64x64 pixels, between those of the face; `scale` of its side, from (row, column) in pixels of the face."""
    side = face.shape[0]
    at = (numpy.arange(SIDE) + 0.5) * scale * side / SIDE - 0.5

    def along(values, start):  # linear, along the first axis
        place = numpy.clip(at + start, 0, side - 1)
        low = numpy.minimum(place.astype(int), side - 2)
        part = (place - low)[:, None]
        return values[low] * (1 - part) + values[low + 1] * part

    pixels = along(along(face, row).T, column).T
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean() + brightness
    pixels = numpy.clip(pixels, 0, 255).round().astype(numpy.uint8)
    return (pixels[:, ::-1] if mirror else pixels)[..., None]


def random_view(face, random):
    scale = random.uniform(0.75, 1)
    row, column = random.uniform(0, face.shape[0] * (1 - scale), 2)
    return view(face, scale, row, column, random.random() < 0.5, random.uniform(0.8, 1.25), random.uniform(-20, 20))


def main():
    faces = numpy.load(sys.argv[1])[:100] * 255.0  # the other hundred are no faces
    random = numpy.random.default_rng(1)
    with h5py.File(sys.argv[2], "w") as out:
        out["x_train"] = numpy.stack([random_view(faces[i % 50], random) for i in range(VIEWS)])
        out["x_test"] = numpy.stack([view(f, 1, 0, 0, mirror, 1, 0) for f in faces[50:] for mirror in (False, True)])


main()
