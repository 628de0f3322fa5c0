#!/bin/sh
# Migrates a model that is larger than the memory its ranks may have, from file to file: seconds, GB a second of
# the source, against reading the source and writing as many bytes as the target has with cat and dd, and the most
# memory of a rank; then kills a run in its midst and goes on with it.
#   scripts/bench/streaming.sh [FOLDER] [GIB] [LIMIT_MIB]        (a temporary folder, 4, 512)
# FOLDER needs room for three times the model; all is deleted. Each rank may have LIMIT_MIB of memory of its own
# (RLIMIT_DATA; RLIMIT_AS would count the libraries' files too). The model is in the page cache, as it was written
# just before; COLD=1 takes it out of it before each run.
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
export OMP_WAIT_POLICY=passive
godwit="$(realpath "${GODWIT:-build/coordinator/godwit}")"
make_model="$(realpath "${MAKE_MODEL:-build/scripts/bench/bench_make_model}")"
folder="$(mktemp -d "${1:-${TMPDIR:-/tmp}}/godwit_streaming.XXXXXX")"
layers=$((${2:-4} * 4))
limit=$((${3:-512} * 1048576))
trap 'rm -rf "$folder"' EXIT
cd "$folder"
needed=$((layers * 256 * 3))
free="$(df --output=avail -m . | tail -n 1)"
if [ "$free" -lt "$needed" ]; then
    echo "streaming.sh: $folder has $free MiB, $needed are needed; give another folder" >&2
    exit 74
fi

seconds() { # seconds COMMAND...: what it took
    from="$(date +%s.%N)"
    "$@" >/dev/null 2>&1
    date +%s.%N | awk -v from="$from" '{ print $1 - from }'
}
evict() { # out of the page cache
    sync
    dd of=source.h5 oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null
}
migrate() { # ranks settings...
    ranks="$1"
    shift
    mpirun --oversubscribe -n "$ranks" prlimit --data="$limit" "$godwit" migrate config.json "$@"
}

"$make_model" source.h5 "$layers" 8192
printf '{"name": "large", "source": "source.h5", "output": "target.h5", "refit": {"samples": 0}, "training": {"epochs": 0}}\n' >config.json
source_bytes="$(stat -c %s source.h5)"
echo "# source: $source_bytes bytes; limit $limit bytes a rank; ${COLD:+not }in the page cache"
echo "target,ranks,seconds,gb_a_second,migrate_seconds,cat_and_dd_seconds,ratio,peak_mib_a_rank"
for target in "target.precision=int8" "target.precision=bfloat16" "target.width=0.5"; do
    width=1
    [ "$target" = target.width=0.5 ] && width=0.5
    for ranks in 1 2; do
        [ -z "${COLD:-}" ] || evict
        from="$(date +%s.%N)"
        migrate "$ranks" --set target.width="$width" --set "$target" >table 2>log || { cat log >&2; exit 1; }
        took="$(date +%s.%N | awk -v from="$from" '{ print $1 - from }')"
        [ "$ranks" = 1 ] && sha256sum <target.h5 >sum
        sha256sum <target.h5 | cmp -s - sum || { echo "streaming.sh: $ranks ranks made other bytes" >&2; exit 1; }
        blocks=$((($(stat -c %s target.h5) + 8388607) / 8388608))
        rm target.h5
        [ -z "${COLD:-}" ] || evict
        cat="$(seconds cat source.h5)"
        dd="$(seconds dd if=source.h5 of=copy bs=8M count="$blocks" conv=fdatasync)"
        rm copy
        awk -v target="$target" -v ranks="$ranks" -v took="$took" -v cat="$cat" -v dd="$dd" -v bytes="$source_bytes" '
            /^most memory of a rank/ { peak = $6 }
            /^migrate  /             { migrate = $2 }
            END { printf "%s,%d,%.1f,%.2f,%.1f,%.1f,%.2f,%d\n", target, ranks, took, bytes / took / 1e9, migrate, cat + dd,
                         took / (cat + dd), peak }' log table
    done
done

migrate 2 --set target.width=1 --set target.precision=bfloat16 >/dev/null 2>&1
sha256sum <target.h5 >sum
rm target.h5
mpirun --oversubscribe -n 2 prlimit --data="$limit" "$godwit" migrate config.json --set target.width=1 --set target.precision=bfloat16 >/dev/null 2>&1 &
job=$!
lines=0
while [ "$lines" -lt $((layers * 16)) ] && kill -0 "$job" 2>/dev/null; do
    sleep 0.1
    lines="$(grep -c '^done' .target.h5.migration.journal 2>/dev/null || true)"
    lines="${lines:-0}"
done
kill -9 "$job"
wait "$job" 2>/dev/null || true
from="$(date +%s.%N)"
migrate 1 --set target.width=1 --set target.precision=bfloat16 2>&1 >/dev/null | sed -n 's/^resumed/# killed with -9 in its midst on 2 ranks, gone on with on 1; resumed/p'
date +%s.%N | awk -v from="$from" '{ printf "# the rest took %.1f s\n", $1 - from }'
sha256sum <target.h5 | cmp -s - sum || { echo "streaming.sh: other bytes after it was gone on with" >&2; exit 1; }
echo "# the same bytes as without a kill"
