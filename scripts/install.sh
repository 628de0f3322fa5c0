#!/bin/sh
# Installs the Debian packages that Godwit needs to be built, tested and tried; only those that are missing.
#   scripts/install.sh [fuzz]     fuzz: also what scripts/fuzz.sh needs
set -eu

packages="gcc g++ gfortran libc6-dev cmake ninja-build make pkg-config
libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libopenblas-dev liblapacke-dev libdnnl-dev
libcjson-dev libzip-dev zlib1g-dev libpng-dev libjpeg-dev libssl-dev libprotobuf-c-dev protobuf-c-compiler
libstb-dev libcmocka-dev
dataset-fashion-mnist netpbm"

[ "${1:-}" != fuzz ] || packages="$packages clang libclang-rt-14-dev"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install.sh: this is not Debian; install by hand what CMake says is missing" >&2
    exit 0
fi

missing=""
for package in $packages; do
    case "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" in
    installed*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null; then
    root="sudo"
else
    echo "install.sh: missing:$missing; install them as root: apt-get install$missing" >&2
    exit 1
fi

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! $root apt-get install -y --no-install-recommends $missing; then
    $root apt-get update
    $root apt-get install -y --no-install-recommends $missing
fi
