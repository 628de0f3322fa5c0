// Times inference of a Keras model in TensorFlow.js, on one thread by WebAssembly with SIMD (in Node it has no
// threads), and computes what the other engines are compared with: the peer of scripts/bench/inference.sh.
//   node tfjs_infer.mjs PEERS MODEL.h5 NxHxWxC OUT
// Writes random inputs and their outputs to OUT.x, OUT.y (float32) and OUT.golden.h5, prints "ready", then for each
// line with a number of seconds on standard input the median milliseconds of one pass.
// PEERS: a folder whose node_modules has @tensorflow/tfjs-backend-wasm and h5wasm (scripts/install_peers.sh).
import fs from 'fs';
import {createRequire} from 'module';
import path from 'path';
import readline from 'readline';
import {pathToFileURL} from 'url';
import {readKeras} from '../../tests/io/keras_tfjs.mjs';

const [, , peers, modelPath, shapeText, out] = process.argv;
const require = createRequire(path.resolve(peers, 'package.json'));
const tf = require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
const h5 = await import(pathToFileURL(path.resolve(peers, 'node_modules/h5wasm/dist/node/hdf5_hl.js')).href);
await h5.ready;
await tf.setBackend('wasm');
await tf.ready();

let state = 12345;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

const model = await readKeras(tf, h5, modelPath);
const shape = shapeText.split('x').map(Number);
const x = tf.tensor(Float32Array.from({length: shape.reduce((a, b) => a * b, 1)}, random), shape);

// apply() and not predict(), which would divide the batch and copy it.
function milliseconds() {
  const start = performance.now();
  tf.tidy(() => void model.apply(x));
  return performance.now() - start;
}

const y = tf.tidy(() => model.apply(x));
const golden = new h5.File(out + '.golden.h5', 'w');
for (const [name, tensor] of Object.entries({x, y})) {
  const data = Float32Array.from(await tensor.data());
  golden.create_dataset({name, data, shape: tensor.shape, dtype: '<f4'});
  fs.writeFileSync(`${out}.${name}`, data);
}
golden.close();
y.dispose();
console.log('ready');

for await (const line of readline.createInterface({input: process.stdin})) {
  const end = performance.now() + 1e3 * Number(line);
  const times = [];
  while (!times.length || performance.now() < end) times.push(milliseconds());
  console.log(times.sort((a, b) => a - b)[times.length >> 1]);
}
