#!/bin/sh
# Installs what the tests labelled "peer" compare with, into FOLDER (build/peers by default): TensorFlow.js, h5wasm, ONNX
# Runtime and a trained model from npm.
#   scripts/install_peers.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
folder="${1:-build/peers}"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "install_peers.sh: node and npm are missing; on Debian: apt-get install nodejs npm" >&2
    exit 1
fi
if [ -d "$folder/node_modules/@tensorflow/tfjs" ] && [ -d "$folder/node_modules/h5wasm" ] &&
    [ -d "$folder/node_modules/@upscalerjs/esrgan-slim" ] && [ -d "$folder/node_modules/onnxruntime-node" ]; then
    exit 0
fi
mkdir -p "$folder"
# Without scripts: that of ONNX Runtime would fetch what graphics cards need.
npm install --prefix "$folder" --no-audit --no-fund --no-save --legacy-peer-deps --ignore-scripts \
    @tensorflow/tfjs@4.22.0 h5wasm@0.10.3 @upscalerjs/esrgan-slim@1.0.0 onnxruntime-node@1.30.0
