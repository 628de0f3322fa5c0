#!/bin/sh
# Installs a build into a folder of its own, and uses what is installed as a stranger would: programs, manual pages,
# libgodwit by CMake and by pkg-config, from C, C++ and Fortran. What is not there to do it with is said and passed over.
#   run.sh BUILD [FLAG...]     FLAG: for the compilers and linkers of the examples
set -eu
build="$1"
shift
flags="$*"
images=/usr/share/datasets/fashion-mnist
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
prefix="$folder/prefix"

fail() {
    echo "installed: $*" >&2
    exit 1
}
has() {
    command -v "$1" >/dev/null && return 0
    echo "installed: no $1 here: without what needs it"
    return 1
}

# Somewhere else than it was configured for, and then moved.
cmake --install "$build" --prefix "$folder/first" >/dev/null
mv "$folder/first" "$prefix"
lib="$(dirname "$(find "$prefix" -name libgodwit.so)")"
model="$prefix/share/godwit/configs/models/fashion_source.h5"
[ -f "$model" ] || fail "no $model"
[ -f "$prefix/include/godwit.h" ] || fail "no godwit.h"

# ---- programs and their manual pages ----

"$prefix/bin/godwit" --version | grep -q '^godwit' || fail "godwit does not start"
man1="$prefix/share/man/man1" man3="$prefix/share/man/man3"
for command in $("$prefix/bin/godwit" --help | awk '/^Commands:/ { on = 1; next } /^ *$/ { on = 0 } on { print $1 }'); do
    grep -q "^\\.B $command" "$man1/godwit.1" || fail "godwit(1) does not have the command $command"
    [ "$command" = help ] && continue
    for option in $("$prefix/bin/godwit" "$command" --help | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
        sed 's/\\-/-/g' "$man1/godwit.1" | grep -qe "$option" || fail "godwit(1) does not have $command $option"
    done
done
for option in $("$prefix/bin/run_inference" --help | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
    sed 's/\\-/-/g' "$man1/run_inference.1" | grep -qe "$option" || fail "run_inference(1) does not have $option"
done
functions="$(grep -oE 'godwit_[a-z_]+\(' "$prefix/include/godwit.h" | tr -d '(' | sort -u)"
[ "$(echo "$functions" | wc -l)" -ge 15 ] || fail "godwit.h declares too few functions: $functions"
for function in $functions; do
    grep -qF "$function(" "$man3/godwit.3" || fail "godwit(3) does not have $function"
done
if has groff; then
    for page in "$man1"/*.1 "$man3"/*.3; do
        said="$(groff -man -Tutf8 -ww -z "$page" 2>&1)"
        [ -z "$said" ] || fail "$page: $said"
    done
fi

# ---- what the library shows ----

shown="$(nm -D --defined-only "$lib/libgodwit.so" | awk '{ print $NF }')"
others="$(echo "$shown" | grep -v '^godwit_' || true)"
[ -z "$others" ] || fail "libgodwit.so exports $others"
for function in $functions; do
    echo "$shown" | grep -qx "$function" || fail "libgodwit.so does not export $function"
done

# ---- the examples, by CMake and by pkg-config ----

export PKG_CONFIG_PATH="$lib/pkgconfig"
by_cmake() {
    cmake -S "$prefix/share/doc/Godwit/examples" -B "$folder/cmake" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_Fortran_FLAGS="$flags" &&
        cmake --build "$folder/cmake"
}
by_cmake >"$folder/log" 2>&1 || {
    cat "$folder/log"
    fail "the examples cannot be built by CMake"
}
folders="$folder/cmake"
if has make && has pkg-config; then
    cp -r "$prefix/share/doc/Godwit/examples" "$folder/make"
    targets="classify throughput"
    if [ -f "$lib/pkgconfig/godwit-fortran.pc" ] && has gfortran; then targets="$targets drift drift-from-source"; fi
    # shellcheck disable=SC2086
    make -C "$folder/make" CFLAGS="-O2 -Wall -Wextra -pedantic -Werror $flags" FFLAGS="-O2 -Wall -Wextra $flags" \
        CXXFLAGS="-O2 -Wall -Wextra -pedantic -Werror $flags" $targets >"$folder/log" 2>&1 || {
        cat "$folder/log"
        fail "the examples cannot be built by make"
    }
    folders="$folders $folder/make"
fi

# What docs/library.md shows, word for word.
document="$prefix/share/doc/Godwit/docs/library.md"
mkdir "$folder/shown"
ln -s "$model" "$folder/shown/fashion.h5"
block() { # language: the first program of docs/library.md in it
    awk -v "first=\`\`\`$1" '$0 == first && !done { on = 1; next } /^```/ { if (on) done = 1; on = 0 } on' "$document"
}
try() { # what compiler source flags...
    what="$1"
    shift
    "$@" -o "$folder/shown/program" >"$folder/log" 2>&1 || {
        cat "$folder/log"
        fail "the $what program of docs/library.md cannot be built"
    }
    said="$(cd "$folder/shown" && ./program)" || fail "the $what program of docs/library.md fails"
    case "$said" in
    "T-shirt/top: "*0.*) ;;
    *) fail "the $what program of docs/library.md says: $said" ;;
    esac
}
if has pkg-config && has cc; then
    block c >"$folder/shown/program.c"
    rpath="-Wl,-rpath,$lib"
    # shellcheck disable=SC2046,SC2086
    try C cc -std=c99 -Wall -Wextra -Werror $flags "$folder/shown/program.c" $(pkg-config --cflags --libs godwit) "$rpath"
    block fortran >"$folder/shown/program.f90"
    # shellcheck disable=SC2046,SC2086
    if [ -f "$lib/pkgconfig/godwit-fortran.pc" ] && has gfortran; then
        try Fortran gfortran -Wall $flags "$folder/shown/program.f90" $(pkg-config --cflags --libs godwit-fortran) "$rpath"
    fi
fi

# Fashion-MNIST's own labels of the first test images.
if [ ! -f "$images/t10k-images-idx3-ubyte.gz" ]; then
    echo "installed: no $images: the examples are built, not run"
    exit 0
fi
zcat "$images/t10k-images-idx3-ubyte.gz" >"$folder/images"
zcat "$images/t10k-labels-idx1-ubyte.gz" >"$folder/labels"
image() { # number
    printf 'P5 28 28 255\n'
    tail -c +$((17 + 784 * $1)) "$folder/images" | head -c 784
}
label() { # number
    tail -c +$((9 + $1)) "$folder/labels" | head -c 1 | od -An -tu1 | tr -d ' '
}

wrong=0
for i in $(seq 0 19); do image "$i" >"$folder/$i.pgm"; done
for built in $folders; do
    wrong=0
    for i in $(seq 0 19); do
        said="$("$built/classify" "$model" "$folder/$i.pgm")" || fail "classify failed: $said"
        case "$said" in
        *": class $(label "$i"), "*) ;;
        *) wrong=$((wrong + 1)) ;;
        esac
    done
    [ "$wrong" -le 2 ] || fail "$built/classify is wrong for $wrong of 20 images; the model is right for 93 %"
    "$built/classify" "$model" "$folder/0.pgm" | grep -q "Ankle boot" || fail "the first image is an ankle boot"
    code=0
    said="$("$built/classify" "$folder/images" "$folder/0.pgm" 2>&1)" || code=$?
    [ "$code" = 65 ] || fail "a file that is no model gives $code: $said"
    "$built/throughput" "$model" 3 0.3 | grep -q '^3 threads: [1-9]' || fail "throughput failed"
    for drift in "$built/drift" "$built/drift-from-source"; do
        [ -x "$drift" ] || continue
        # 28 steps of 28 columns lead back to where all began. More threads than cores, in a parallel region.
        said="$(OMP_NUM_THREADS=3 "$drift" "$model" "$folder/images" "$folder/labels" 200 28)" || fail "drift failed"
        echo "$said" | awk '/^step/ { share[NR] = $3 } END { exit !(share[1] >= 88 && share[1] == share[NR - 1] && share[3] < share[1]) }' ||
            fail "drift says: $said"
        echo "$said" | grep -q "Ankle boot" || fail "drift says: $said"
    done
done
echo "installed: all that is there works"
