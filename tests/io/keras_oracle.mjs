// Computes a Keras model in TensorFlow.js: reads MODEL.h5 by h5wasm, runs it on random inputs and writes them with the
// outputs to OUT.h5 (x0, x1, ..., y0, y1, ...).
//   node keras_oracle.mjs PEERS MODEL.h5 OUT.h5 BATCH
// PEERS: a folder whose node_modules has @tensorflow/tfjs and h5wasm (scripts/install_peers.sh).
import {createRequire} from 'module';
import path from 'path';
import {pathToFileURL} from 'url';
import {readKeras} from './keras_tfjs.mjs';

const [, , peers, modelPath, outPath, batch] = process.argv;
const require = createRequire(path.resolve(peers, 'package.json'));
const tf = require('@tensorflow/tfjs');
const h5 = await import(pathToFileURL(path.resolve(peers, 'node_modules/h5wasm/dist/node/hdf5_hl.js')).href);
await h5.ready;

// A small generator, so that a run can be repeated.
let state = 12345;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

const model = await readKeras(tf, h5, modelPath);
const inputs = model.inputs.map((input) => {
  const shape = [Number(batch), ...input.shape.slice(1)];
  const data = Float32Array.from({length: shape.reduce((a, b) => a * b, 1)}, () => 2 * random() - 1);
  return {shape, data};
});
const result = model.predict(inputs.map((x) => tf.tensor(x.data, x.shape)));
const outputs = Array.isArray(result) ? result : [result];
const out = new h5.File(outPath, 'w');
inputs.forEach((x, i) => out.create_dataset({name: `x${i}`, data: x.data, shape: x.shape, dtype: '<f4'}));
for (let i = 0; i < outputs.length; i++)
  out.create_dataset({name: `y${i}`, data: Float32Array.from(await outputs[i].data()), shape: outputs[i].shape, dtype: '<f4'});
out.close();
