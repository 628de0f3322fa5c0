// Loads models that this program wrote as HDF5 into TensorFlow.js and computes them.
//   node layer_answers.mjs PEERS CASES.jsonl.gz FOLDER OUT.jsonl.gz
// For case number i of CASES (layer_cases.mjs) it takes FOLDER/i.h5, if there is one, and the inputs of the case; OUT has
// one line for each: {"name", "y"} or {"name", "error"}.
import {createRequire} from 'module';
import fs from 'fs';
import path from 'path';
import {pathToFileURL} from 'url';
import zlib from 'zlib';

const [, , peers, casesPath, folder, outPath] = process.argv;
const require = createRequire(path.resolve(peers, 'package.json'));
const tf = require('@tensorflow/tfjs');
const h5 = await import(pathToFileURL(path.resolve(peers, 'node_modules/h5wasm/dist/node/hdf5_hl.js')).href);
await h5.ready;
await tf.setBackend('cpu');

function names(group, key) {
  if (group.attrs[key]) return [...group.attrs[key].value];
  const all = [];
  for (let i = 0; group.attrs[key + i]; i++) all.push(...group.attrs[key + i].value);
  return all;
}

// Weights go to layers by their order, as in Keras.
async function load(file) {
  const config = JSON.parse(file.attrs['model_config'].value);
  if (config.class_name === 'Functional') config.class_name = 'Model';
  const model = await tf.models.modelFromJSON({model_config: config});
  const root = file.get('model_weights');
  const groups = names(root, 'layer_names').filter((name) => names(root.get(name), 'weight_names').length);
  const layers = model.layers.filter((layer) => layer.weights.length);
  if (groups.length !== layers.length) throw new Error(`${groups.length} groups with weights, ${layers.length} layers`);
  groups.forEach((name, i) => {
    const group = root.get(name);
    layers[i].setWeights(names(group, 'weight_names').map((weight) => {
      const data = group.get(weight);
      return tf.tensor(Float32Array.from(data.value), data.shape);
    }));
  });
  return model;
}

const lines = [];
const cases = zlib.gunzipSync(fs.readFileSync(casesPath)).toString().trim().split('\n').map((line) => JSON.parse(line));
for (let i = 0; i < cases.length; i++) {
  const modelPath = path.join(folder, `${i}.h5`);
  if (!fs.existsSync(modelPath)) continue;
  const file = new h5.File(modelPath, 'r');
  try {
    const model = await load(file);
    const result = model.predict(cases[i].x.map((x) => tf.tensor(x.data, x.shape)));
    const outputs = Array.isArray(result) ? result : [result];
    lines.push({name: cases[i].name, y: outputs.map((y) => ({shape: y.shape, data: Array.from(y.dataSync(), (v) => Number(v.toPrecision(9)))}))});
  } catch (error) {
    lines.push({name: cases[i].name, error: String(error.message).split('\n')[0]});
  }
  file.close();
}
fs.writeFileSync(outPath, zlib.gzipSync(lines.map((line) => JSON.stringify(line)).join('\n') + '\n'));
