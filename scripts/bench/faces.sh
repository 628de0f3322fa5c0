#!/bin/sh
# For how many faces a target of fer2013_big_XCEPTION, with a part of its operations and refitted in closed form on
# unlabelled images, gives the class that the source gives: of 50 people who are not among the 50 of the refit's images,
# each and mirrored. The images are of Debian's package python3-skimage, which is downloaded, not installed (20 MB); Python
# needs numpy and h5py.
#   scripts/bench/faces.sh [PART...]     (0.85 0.7 0.5: parts of the source's operations)
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
model=../shared/models/fer2013_big_XCEPTION.hdf5
if [ ! -e "$model" ]; then
    echo "faces.sh: there is no $model" >&2
    exit 77
fi
python="${PYTHON:-/usr/bin/python3}" godwit="${GODWIT:-build/coordinator/godwit}"
faces=build/peers/lfw_subset.npy
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if [ ! -e "$faces" ]; then
    (cd "$work" && apt-get download python3-skimage >/dev/null && dpkg -x python3-skimage_*.deb .) >&2
    mkdir -p build/peers
    cp "$(find "$work" -name lfw_subset.npy)" "$faces"
fi
"$python" scripts/bench/faces.py "$faces" "$work/faces.h5"
cat >"$work/job.json" <<END
{"name": "faces", "source": "$(realpath "$model")", "output": "$work/target.h5", "runs": "$work/runs",
 "data": {"format": "hdf5", "path": "$work/faces.h5", "scale": 0.00784313725490196, "offset": -1},
 "refit": {"samples": 4096}, "training": {"epochs": 0}}
END
echo "| part of the operations | the source's class | parameters | MFLOP | latency, ms | seconds |"
echo "|--:|--:|--:|--:|--:|--:|"
for part in "${@:-0.85 0.7 0.5}"; do
    for part in $part; do
        mpirun -n 2 "$godwit" migrate "$work/job.json" --set target.flops="$part" --log-level error >"$work/table"
        awk -v part="$part" '
            /^same class as the source/ { same = $6 " %" }
            /^parameters/               { parameters = $3 }
            /^MFLOP/                    { mflop = $5 }
            /^latency/                  { latency = $7 }
            /^total/                    { seconds = $2 }
            END { print "| " part " | " same " | " parameters " | " mflop " | " latency " | " seconds " |" }' "$work/table"
    done
done
