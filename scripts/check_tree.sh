#!/bin/sh
# Checks the rules of the tree that a compiler does not: who may include whom, and who may print.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

# forbid WHY PATTERN FILE...: no line of the files matches the extended regular expression.
forbid() {
    why="$1" pattern="$2"
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nE "$pattern" "$@" /dev/null; then
        echo "check_tree: $why" >&2
        failed=1
    fi
}

sources() { # sources FOLDER [find's conditions]
    folder="$1"
    shift
    find "$folder" -name '*.[ch]' "$@" | sort
}
# The file names have no blanks.
# shellcheck disable=SC2046
{
    forbid "shared/ includes nothing but shared/" '#include "(io|worker|coordinator)/' $(sources shared)
    forbid "io/ includes io/ and shared/ only" '#include "(worker|coordinator)/' $(sources io)
    forbid "worker/ and coordinator/ do not include each other" '#include "coordinator/' $(sources worker)
    forbid "of coordinator/, only main* may include worker/" '#include "worker/' \
        $(sources coordinator -not -name 'main*')

    forbid "cJSON, HDF5 and protobuf-c are used in io/ only" '#include <(cjson/|hdf5|protobuf-c|onnx[.]pb-c)' $(sources shared) $(sources worker) \
        $(sources coordinator)
    forbid "oneDNN and BLAS are used in worker/ only" '#include <(oneapi/|dnnl|cblas|lapacke|openblas)' \
        $(sources shared) $(sources io) $(sources coordinator)
    forbid "mpi.h is included by shared/comm*, io/ and coordinator/main* only" '#include <mpi\.h>' \
        $(sources shared -not -name 'comm*') $(sources worker) $(sources coordinator -not -name 'main*')
    forbid "libraries' headers are included by .c files only" \
        '#include <(cjson/|hdf5|oneapi/|cblas|lapacke|png|jpeglib|zlib|zip[.]|openssl/|stb/|protobuf-c|onnx[.]pb-c)' \
        $(find shared io worker coordinator -name '*.h')

    forbid "only coordinator/ and the log print (and layer_attr before it aborts)" '(^|[^a-z_])(printf|puts|putchar|perror) *\(|fprintf *\(std(out|err)' \
        $(sources shared -not -name 'log.c' -not -name 'layer.c') $(sources io) $(sources worker)
    forbid "bad input is an error, not an assertion" '(^|[^a-z_])assert *\(' $(sources shared) $(sources io) \
        $(sources worker) $(sources coordinator)
    forbid "a file is named for its noun" '.' $(find shared io worker coordinator -name 'util*' -o -name 'common*' -o \
        -name 'globals*' -o -name 'misc*' -o -name 'helper*')
    forbid "nothing is left undone in the text" 'TODO|FIXME' $(sources shared) $(sources io) $(sources worker) \
        $(sources coordinator) $(sources tests)
}
exit $failed
