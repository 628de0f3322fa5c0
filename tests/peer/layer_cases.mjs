// Small models of every layer that TensorFlow.js knows, in many combinations of options, with random weights and
// inputs, and what TensorFlow.js computes for them; then small models of the families of keras.applications.
//   node layer_cases.mjs PEERS OUT.jsonl.gz [SEED]
// PEERS: a folder whose node_modules has @tensorflow/tfjs (scripts/install_peers.sh). One case a line; what a line
// has is said in tests/data/layers/README.md.
import {createRequire} from 'module';
import fs from 'fs';
import path from 'path';
import zlib from 'zlib';

const [, , peers, outPath, seed = '1'] = process.argv;
const require = createRequire(path.resolve(peers, 'package.json'));
const tf = require('@tensorflow/tfjs');
const L = tf.layers;
await tf.setBackend('cpu');
const oracle = `TensorFlow.js ${tf.version.tfjs}`;

// ---- numbers: few significant bits, so that they are exact in float32 and compress well ----

let state = Number(seed) * 2654435761 >>> 0;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const eighths = () => (Math.floor(17 * random()) - 8) / 8;
const product = (shape) => shape.reduce((a, b) => a * b, 1);

// Of a variance near that which keeps the size of activations (He et al. 2015).
function weightValues(name, shape) {
  const n = product(shape);
  const fill = (f) => Float32Array.from({length: n}, f);
  if (/variance/.test(name)) return fill(() => 1 + eighths() / 2);
  if (/gamma/.test(name)) return fill(() => 1 + eighths() / 4);
  if (/embeddings/.test(name)) return fill(eighths);
  if (/kernel/.test(name)) {
    const fanIn = /depthwise/.test(name) ? shape[0] * shape[1] : n / shape[shape.length - 1];
    const scale = 2 ** Math.round(Math.log2(Math.sqrt(6 / fanIn)));
    return fill(() => eighths() * scale);
  }
  return fill(() => eighths() / 4);
}

function inputValues(shape, kind) {
  const n = product(shape);
  if (kind && kind.integers) return Float32Array.from({length: n}, () => Math.floor(kind.integers * random()));
  if (kind && kind.padded) { // whole time steps of zeros, at the end of each sample
    const [batch, steps] = shape, width = n / batch / steps;
    return Float32Array.from({length: n}, (_, i) => {
      const sample = Math.floor(i / (steps * width)), step = Math.floor(i / width) % steps;
      return step > 1 + sample * 2 ? 0 : 2 * eighths() || 0.125;
    });
  }
  return Float32Array.from({length: n}, () => 2 * eighths());
}

// ---- cases ----

const lines = [];
const names = new Set();

const list = (values) => Array.from(values, (v) => Number(v.toPrecision(9)));

async function artifactsOf(model) {
  let saved;
  await model.save(tf.io.withSaveHandler(async (artifacts) => {
    saved = artifacts;
    return {modelArtifactsInfo: {dateSaved: new Date(0), modelTopologyType: 'JSON'}};
  }));
  return saved;
}

// Sets random weights and computes random inputs.
function draw(model, {batch = 2, kinds = [], shapes}) {
  for (const layer of model.layers)
    if (layer.weights.length)
      layer.setWeights(layer.weights.map((w) => tf.tensor(weightValues(w.originalName, w.shape), w.shape)));
  const inputs = model.inputs.map((input, i) => {
    const shape = [batch, ...(shapes ? shapes[i] : input.shape.slice(1))];
    return {shape, data: inputValues(shape, kinds[i])};
  });
  const result = model.predict(inputs.map((x) => tf.tensor(x.data, x.shape)));
  const outputs = (Array.isArray(result) ? result : [result]).map((y) => ({shape: y.shape, data: y.dataSync()}));
  return {inputs, outputs};
}

const allZero = (outputs) => outputs.every((y) => y.data.every((v) => v === 0));

async function addCase(name, model, options = {}) {
  if (names.has(name)) throw new Error(`two cases are named ${name}`);
  names.add(name);
  let {inputs, outputs} = draw(model, options);
  // As a small layer that ends with relu may be: says nothing.
  for (let i = 0; i < 9 && allZero(outputs); i++) ({inputs, outputs} = draw(model, options));
  if (allZero(outputs)) throw new Error(`${name}: all zero`);
  const saved = await artifactsOf(model);
  // TensorFlow.js forgets it; Keras, and so the converter to TensorFlow.js, writes it.
  for (const layer of saved.modelTopology.config.layers)
    if (layer.class_name === 'SeparableConv2D')
      layer.config.depth_multiplier = model.getLayer(layer.config.name).depthMultiplier;
  const line = {
    name, oracle,
    model: {
      format: 'layers-model', generatedBy: saved.generatedBy, convertedBy: null, modelTopology: saved.modelTopology,
      weightsManifest: [{paths: ['weights.bin'], weights: saved.weightSpecs}],
    },
    weights: list(new Float32Array(saved.weightData)),
    x: inputs.map((x) => ({shape: x.shape, data: list(x.data)})),
    y: outputs.map((y) => ({shape: y.shape, data: list(y.data)})),
  };
  if (line.y.some((y) => y.data.some((v) => !Number.isFinite(v)))) throw new Error(`${name}: not finite`);
  lines.push(JSON.stringify(line));
}

// Every combination of the given values of options: {a: [1, 2], b: [3]} gives {a: 1, b: 3}, {a: 2, b: 3}.
function combinations(options) {
  let all = [{}];
  for (const [key, values] of Object.entries(options))
    all = all.flatMap((one) => values.map((value) => ({...one, [key]: value})));
  return all;
}

// A model of one layer. `layer` may be a class name of tf.layers with its options, or a layer itself.
async function one(group, layers, inputShape, options = {}) {
  let i = 0;
  for (const [make, config] of layers) {
    const input = tf.input({shape: inputShape});
    const output = L[make](config).apply(input);
    await addCase(`${group}/${i++}`, tf.model({inputs: input, outputs: output}), options);
  }
}
const each = (make, options) => combinations(options).map((config) => [make, config]);

// Not here, because TensorFlow.js computes other things than Keras: dilated depthwise convolutions (it does not
// dilate), bilinear UpSampling2D (not by half pixels), Concatenate with an axis counted from the end.
// What padding depends on: kernel, stride, dilation and size, even and odd.
async function convolutions() {
  await one('conv2d', [
    ...each('conv2d', {filters: [4], kernelSize: [3, [2, 5]], strides: [1, 2, [2, 1]], padding: ['same', 'valid'],
                       useBias: [true]}),
    ...each('conv2d', {filters: [3], kernelSize: [1, 4], strides: [2, 3], padding: ['same', 'valid'], useBias: [false]}),
    ...each('conv2d', {filters: [3], kernelSize: [3], dilationRate: [2, [1, 3]], padding: ['same', 'valid'],
                       activation: ['relu']}),
  ], [8, 11, 3]);
  await one('conv2d_channels_first',
            each('conv2d', {filters: [4], kernelSize: [[3, 2]], strides: [1, 2], padding: ['same', 'valid'],
                            dataFormat: ['channelsFirst']}), [3, 8, 7]);
  await one('conv2d_transpose', [
    ...each('conv2dTranspose', {filters: [3], kernelSize: [3, [2, 4]], strides: [1, 2], padding: ['same', 'valid'],
                                useBias: [true]}),
    ...each('conv2dTranspose', {filters: [2], kernelSize: [[5, 2]], strides: [[3, 1]], padding: ['same', 'valid'],
                                useBias: [false], activation: ['tanh']}),
  ], [5, 4, 3]);
  await one('depthwise_conv2d', [
    ...each('depthwiseConv2d', {kernelSize: [3, [2, 4]], strides: [1, 2], padding: ['same', 'valid'],
                                depthMultiplier: [1, 2]}),
    ['depthwiseConv2d', {kernelSize: 3, padding: 'same', useBias: false, activation: 'relu6'}],
  ], [7, 8, 3]);
  await one('separable_conv2d', [
    ...each('separableConv2d', {filters: [5], kernelSize: [3, [4, 1]], strides: [1, 2], padding: ['same', 'valid'],
                                depthMultiplier: [1, 2]}),
    ['separableConv2d', {filters: 4, kernelSize: 3, dilationRate: 2, padding: 'same', useBias: false,
                         activation: 'elu'}],
  ], [8, 7, 3]);
  await one('conv1d', [
    ...each('conv1d', {filters: [4], kernelSize: [3, 4], strides: [1, 2], padding: ['same', 'valid']}),
    ...each('conv1d', {filters: [3], kernelSize: [2], dilationRate: [3], padding: ['same', 'valid'],
                       useBias: [false], activation: ['tanh']}),
  ], [11, 3]);
}

async function pooling() {
  for (const make of ['maxPooling2d', 'averagePooling2d']) {
    await one(make, [
      ...each(make, {poolSize: [2, [3, 2]], strides: [1, 2, [1, 3]], padding: ['same', 'valid']}),
      [make, {poolSize: 2}],
    ], [7, 8, 3]);
    await one(`${make}_channels_first`, [[make, {poolSize: 2, dataFormat: 'channelsFirst', padding: 'same'}]], [3, 5, 6]);
  }
  for (const make of ['maxPooling1d', 'averagePooling1d'])
    await one(make, [...each(make, {poolSize: [2, 3], strides: [1, 2], padding: ['same', 'valid']}), [make, {}]],
              [9, 4]);
  for (const make of ['globalAveragePooling2d', 'globalMaxPooling2d'])
    await one(make, [[make, {}]], [5, 6, 4]);
  for (const make of ['globalAveragePooling2d', 'globalMaxPooling2d'])
    await one(`${make}_channels_first`, [[make, {dataFormat: 'channelsFirst'}]], [4, 5, 6]);
  for (const make of ['globalAveragePooling1d', 'globalMaxPooling1d']) await one(make, [[make, {}]], [6, 4]);
}

async function shapes() {
  await one('zero_padding2d', each('zeroPadding2d', {padding: [2, [1, 3], [[1, 0], [2, 3]]]}), [4, 5, 2]);
  await one('zero_padding2d_channels_first',
            [['zeroPadding2d', {padding: [[1, 0], [2, 3]], dataFormat: 'channelsFirst'}]], [2, 4, 5]);
  await one('cropping2d', each('cropping2D', {cropping: [[[1, 0], [2, 1]], [[0, 1], [0, 0]]]}), [6, 7, 2]);
  await one('up_sampling2d', each('upSampling2d', {size: [[2, 2], [3, 1]], interpolation: ['nearest']}), [3, 4, 2]);
  await one('flatten', [['flatten', {}]], [3, 4, 2]);
  await one('flatten_channels_first', [['flatten', {dataFormat: 'channelsFirst'}]], [3, 4, 2]);
  await one('reshape', each('reshape', {targetShape: [[6, 4], [2, -1, 3], [24]]}), [3, 4, 2]);
  await one('permute', each('permute', {dims: [[2, 1, 3], [3, 1, 2], [1, 3, 2]]}), [3, 4, 2]);
  await one('repeat_vector', [['repeatVector', {n: 3}]], [4]);
  await one('rescaling', [['rescaling', {scale: 0.25, offset: -1}]], [3, 4, 2]);
}

async function elementwise() {
  for (const activation of ['linear', 'relu', 'relu6', 'elu', 'selu', 'sigmoid', 'hardSigmoid', 'softplus', 'softsign',
                            'tanh', 'softmax', 'swish', 'mish'])
    await one(`activation_${activation}`, [['activation', {activation}]], [3, 5]);
  await one('relu', [['reLU', {}], ['reLU', {maxValue: 1.5}]], [4, 5]);
  await one('leaky_relu', [['leakyReLU', {}], ['leakyReLU', {alpha: 0.125}]], [4, 5]);
  await one('elu', [['elu', {}]], [4, 5]);
  await one('thresholded_relu', [['thresholdedReLU', {theta: 0.75}]], [4, 5]);
  await one('softmax', [['softmax', {axis: -1}]], [4, 5]);
  await one('prelu', [['prelu', {}], ['prelu', {sharedAxes: [1, 2]}]], [3, 4, 2]);
  await one('prelu_1d', [['prelu', {}]], [5]);
  for (const make of ['dropout', 'spatialDropout1d', 'gaussianDropout', 'gaussianNoise', 'alphaDropout'])
    await one(make.toLowerCase(), [[make, make === 'gaussianNoise' ? {stddev: 0.5} : {rate: 0.5}]], [4, 3]);
  await one('dense', [
    ...each('dense', {units: [4], useBias: [true, false], activation: ['linear', 'softmax']}),
    ['dense', {units: 3, activation: 'hardSigmoid'}],
  ], [5]);
  await one('dense_of_sequence', [['dense', {units: 4, activation: 'relu'}]], [3, 5]);
  await one('dense_of_image', [['dense', {units: 4}]], [3, 2, 5]);
  for (const shape of [[6], [3, 6], [3, 4, 6]]) {
    await one(`batch_normalization_${shape.length}`,
              each('batchNormalization', {scale: [true, false], center: [true, false], epsilon: [0.01]}), shape);
    await one(`layer_normalization_${shape.length}`,
              each('layerNormalization', {scale: [true, false], center: [true, false], epsilon: [0.01]}), shape);
  }
  // Not of another axis than the last: TensorFlow.js's CPU backend takes the channels in turn there, whatever the axis.
  await one('layer_normalization_axes', [['layerNormalization', {axis: [1, 2, 3]}], ['layerNormalization', {axis: [2, 3]}]],
            [3, 4, 2]);
}

async function merges() {
  const apply = async (name, make, config, shapes) => {
    const inputs = shapes.map((shape) => tf.input({shape}));
    await addCase(name, tf.model({inputs, outputs: L[make](config).apply(inputs)}));
  };
  for (const make of ['add', 'average', 'maximum', 'minimum', 'multiply']) {
    await apply(`${make}/0`, make, {}, [[3, 4], [3, 4]]);
    await apply(`${make}/1`, make, {}, [[2, 3, 4], [2, 3, 4], [2, 3, 4]]);
    await apply(`${make}/2`, make, {}, [[4, 3, 2], [1, 1, 2]]);
  }
  await apply('concatenate/0', 'concatenate', {}, [[3, 4], [3, 2], [3, 1]]);
  await apply('concatenate/1', 'concatenate', {axis: 1}, [[2, 3, 4], [5, 3, 4]]);
  await apply('concatenate/2', 'concatenate', {axis: 2}, [[2, 3, 4], [2, 1, 4]]);
  await apply('dot/0', 'dot', {axes: -1}, [[6], [6]]);
  await apply('dot/1', 'dot', {axes: -1, normalize: true}, [[6], [6]]);
  await apply('dot/2', 'dot', {axes: [2, 1]}, [[3, 4], [4, 5]]);
}

async function sequences() {
  const embed = async (name, config, after) => {
    const input = tf.input({shape: [7], dtype: 'int32'});
    let y = L.embedding({inputDim: 9, outputDim: 4, ...config}).apply(input);
    for (const layer of after) y = layer.apply(y);
    await addCase(name, tf.model({inputs: input, outputs: y}), {kinds: [{integers: 9}]});
  };
  await embed('embedding/0', {}, []);
  await embed('embedding/1', {maskZero: true}, [L.lstm({units: 3})]);
  await embed('embedding/2', {maskZero: true}, [L.gru({units: 3, resetAfter: false, returnSequences: true}), L.dense({units: 2})]);
  for (const make of ['simpleRNN', 'lstm', 'gru']) {
    const gates = make === 'simpleRNN' ? {} : {recurrentActivation: ['sigmoid', 'hardSigmoid']};
    const own = make === 'gru' ? {resetAfter: [false]} : {};
    await one(make.toLowerCase(), [
      ...each(make, {units: [4], returnSequences: [true, false], goBackwards: [true, false], ...gates, ...own}),
      [make, {units: 3, useBias: false, activation: 'relu', ...(make === 'gru' ? {resetAfter: false} : {})}],
    ], [6, 3]);
    const masked = tf.input({shape: [6, 3]});
    const rnn = L[make]({units: 4, returnSequences: true, ...(make === 'gru' ? {resetAfter: false} : {})});
    await addCase(`masking_${make.toLowerCase()}`,
                  tf.model({inputs: masked, outputs: rnn.apply(L.masking({maskValue: 0}).apply(masked))}),
                  {kinds: [{padded: true}]});
    const input = tf.input({shape: [5, 3]});
    const outputs = L[make]({units: 4, returnState: true, ...(make === 'gru' ? {resetAfter: false} : {})}).apply(input);
    await addCase(`${make.toLowerCase()}_states`, tf.model({inputs: input, outputs}));
  }
  const gruCell = () => L.gruCell({units: 3, resetAfter: false});
  await one('rnn', [
    ['rnn', {cell: L.simpleRNNCell({units: 4}), returnSequences: true}],
    ['rnn', {cell: L.lstmCell({units: 3, recurrentActivation: 'sigmoid'}), goBackwards: true}],
    ['rnn', {cell: gruCell(), returnSequences: true}],
    ['rnn', {cell: [L.lstmCell({units: 4}), gruCell()], returnSequences: true}],
    ['rnn', {cell: L.stackedRNNCells({cells: [L.simpleRNNCell({units: 4}), L.lstmCell({units: 3})]})}],
  ], [5, 3]);
  const seeded = tf.input({shape: [5, 3]}), h = tf.input({shape: [4]}), c = tf.input({shape: [4]});
  await addCase('lstm_initial_state', tf.model({
    inputs: [seeded, h, c],
    outputs: L.lstm({units: 4, returnSequences: true}).apply(seeded, {initialState: [h, c]}),
  }));
  let i = 0;
  for (const mergeMode of ['concat', 'sum', 'mul', 'ave'])
    for (const returnSequences of [true, false]) {
      const input = tf.input({shape: [5, 3]});
      const layer = i % 2 ? L.lstm({units: 3, returnSequences}) : L.gru({units: 3, resetAfter: false, returnSequences});
      await addCase(`bidirectional/${i++}`, tf.model({inputs: input, outputs: L.bidirectional({layer, mergeMode}).apply(input)}));
    }
  const images = tf.input({shape: [3, 6, 5, 2]});
  let y = L.timeDistributed({layer: L.conv2d({filters: 3, kernelSize: 3, activation: 'relu', padding: 'same'})}).apply(images);
  y = L.timeDistributed({layer: L.maxPooling2d({poolSize: 2})}).apply(y);
  y = L.timeDistributed({layer: L.flatten({})}).apply(y);
  await addCase('time_distributed/0', tf.model({inputs: images, outputs: L.timeDistributed({layer: L.dense({units: 4})}).apply(y)}));
}

// Nested models, shared layers, several outputs.
async function graphs() {
  const inner = tf.sequential({layers: [L.dense({units: 4, activation: 'relu', inputShape: [5]}), L.dense({units: 5})]});
  const a = tf.input({shape: [5]}), b = tf.input({shape: [5]});
  const ya = inner.apply(a), yb = inner.apply(b);
  const shared = L.dense({units: 3, activation: 'tanh'});
  await addCase('nested/0', tf.model({
    inputs: [a, b],
    outputs: [L.add().apply([ya, yb]), L.concatenate().apply([shared.apply(ya), shared.apply(yb)])],
  }));
  await addCase('nested/1', tf.sequential({layers: [
    tf.sequential({layers: [L.conv2d({filters: 3, kernelSize: 3, inputShape: [8, 8, 2]}), L.batchNormalization()]}),
    L.reLU(), L.globalAveragePooling2d({}), L.dense({units: 2}),
  ]}));
  const any = tf.input({shape: [null, null, 3]});
  let y = L.conv2d({filters: 4, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu'}).apply(any);
  y = L.upSampling2d({size: [2, 2]}).apply(y);
  await addCase('unknown_size/0', tf.model({inputs: any, outputs: L.conv2d({filters: 2, kernelSize: 1}).apply(y)}),
                {shapes: [[9, 6, 3]]});
}

// ---- the families of keras.applications, much narrower and shallower ----

const bn = (y, config = {}) => L.batchNormalization({epsilon: 1.001e-5, ...config}).apply(y);
const act = (y, activation = 'relu') => L.activation({activation}).apply(y);
const conv = (y, filters, kernelSize, config = {}) => L.conv2d({filters, kernelSize, padding: 'same', ...config}).apply(y);
const channels = (y) => y.shape[y.shape.length - 1];

function head(x, y, classes = 5) {
  y = L.globalAveragePooling2d({name: 'avg_pool'}).apply(y);
  return tf.model({inputs: x, outputs: L.dense({units: classes, activation: 'softmax', name: 'predictions'}).apply(y)});
}

function vgg() {
  const x = tf.input({shape: [16, 16, 3]});
  let y = x;
  for (const [filters, n] of [[4, 2], [6, 2], [8, 3]]) {
    for (let i = 0; i < n; i++) y = conv(y, filters, 3, {activation: 'relu'});
    y = L.maxPooling2d({poolSize: 2, strides: 2}).apply(y);
  }
  y = L.dense({units: 12, activation: 'relu', name: 'fc1'}).apply(L.flatten({}).apply(y));
  return tf.model({inputs: x, outputs: L.dense({units: 5, activation: 'softmax', name: 'predictions'}).apply(y)});
}

function resnetV1() {
  const x = tf.input({shape: [24, 24, 3]});
  let y = L.zeroPadding2d({padding: 3}).apply(x);
  y = act(bn(L.conv2d({filters: 6, kernelSize: 7, strides: 2}).apply(y)));
  y = L.maxPooling2d({poolSize: 3, strides: 2}).apply(L.zeroPadding2d({padding: 1}).apply(y));
  for (const [filters, strides, n] of [[4, 1, 2], [6, 2, 2]])
    for (let i = 0; i < n; i++) {
      const s = i ? 1 : strides;
      const shortcut = i ? y : bn(L.conv2d({filters: 4 * filters, kernelSize: 1, strides: s}).apply(y));
      let z = act(bn(L.conv2d({filters, kernelSize: 1, strides: s}).apply(y)));
      z = act(bn(conv(z, filters, 3)));
      y = act(L.add().apply([shortcut, bn(L.conv2d({filters: 4 * filters, kernelSize: 1}).apply(z))]));
    }
  return head(x, y);
}

function resnetV2() {
  const x = tf.input({shape: [24, 24, 3]});
  let y = L.zeroPadding2d({padding: 3}).apply(x);
  y = L.conv2d({filters: 6, kernelSize: 7, strides: 2}).apply(y);
  y = L.maxPooling2d({poolSize: 3, strides: 2}).apply(L.zeroPadding2d({padding: 1}).apply(y));
  for (const [filters, last, n] of [[4, 2, 2], [6, 1, 2]])
    for (let i = 0; i < n; i++) {
      const strides = i === n - 1 ? last : 1;
      const before = act(bn(y));
      const shortcut = i === 0 ? L.conv2d({filters: 4 * filters, kernelSize: 1, strides}).apply(before)
                               : strides > 1 ? L.maxPooling2d({poolSize: 1, strides}).apply(y) : y;
      let z = act(bn(L.conv2d({filters, kernelSize: 1, useBias: false}).apply(before)));
      z = L.zeroPadding2d({padding: 1}).apply(z);
      z = act(bn(L.conv2d({filters, kernelSize: 3, strides, useBias: false}).apply(z)));
      y = L.add().apply([shortcut, L.conv2d({filters: 4 * filters, kernelSize: 1}).apply(z)]);
    }
  return head(x, act(bn(y)));
}

const corner = (y) => L.zeroPadding2d({padding: [[0, 1], [0, 1]]}).apply(y);
const relu6 = (y) => L.reLU({maxValue: 6}).apply(y);

function mobilenetV1() {
  const x = tf.input({shape: [20, 20, 3]});
  let y = relu6(bn(conv(x, 6, 3, {strides: 2, useBias: false}), {epsilon: 1e-3}));
  for (const [filters, strides] of [[8, 1], [10, 2], [12, 2]]) {
    if (strides === 2) y = corner(y);
    y = L.depthwiseConv2d({kernelSize: 3, strides, padding: strides === 1 ? 'same' : 'valid', useBias: false}).apply(y);
    y = relu6(bn(y));
    y = relu6(bn(conv(y, filters, 1, {useBias: false})));
  }
  y = L.reshape({targetShape: [1, 1, 12]}).apply(L.globalAveragePooling2d({}).apply(y));
  y = conv(L.dropout({rate: 0.001}).apply(y), 5, 1);
  return tf.model({inputs: x, outputs: act(L.reshape({targetShape: [5]}).apply(y), 'softmax')});
}

function mobilenetV2() {
  const x = tf.input({shape: [20, 20, 3]});
  let y = relu6(bn(conv(x, 6, 3, {strides: 2, useBias: false})));
  for (const [filters, strides, expansion] of [[4, 1, 1], [6, 2, 4], [6, 1, 4], [8, 2, 4]]) {
    const before = y;
    if (expansion > 1) y = relu6(bn(conv(y, expansion * channels(y), 1, {useBias: false})));
    if (strides === 2) y = corner(y);
    y = L.depthwiseConv2d({kernelSize: 3, strides, padding: strides === 1 ? 'same' : 'valid', useBias: false}).apply(y);
    y = bn(conv(relu6(bn(y)), filters, 1, {useBias: false}));
    if (strides === 1 && channels(before) === filters) y = L.add().apply([before, y]);
  }
  return head(x, relu6(bn(conv(y, 16, 1, {useBias: false}))));
}

// Squeeze and excite.
function squeeze(y, filters, activation) {
  let se = L.globalAveragePooling2d({}).apply(y);
  se = L.reshape({targetShape: [1, 1, channels(y)]}).apply(se);
  se = conv(se, filters, 1, {activation});
  return L.multiply().apply([y, conv(se, channels(y), 1, {activation: 'sigmoid'})]);
}

function efficientnet(fused) {
  const x = tf.input({shape: [20, 20, 3]});
  let y = L.rescaling({scale: 1 / 128, offset: fused ? -1 : 0}).apply(x);
  y = fused ? y : corner(y);
  y = act(bn(L.conv2d({filters: 6, kernelSize: 3, strides: 2, padding: fused ? 'same' : 'valid', useBias: false}).apply(y)), 'swish');
  for (const [filters, kernelSize, strides, expansion] of [[4, 3, 1, 1], [6, 5, 2, 4], [6, 3, 1, 4]]) {
    const before = y, wide = expansion * channels(y);
    if (fused) {
      y = act(bn(conv(y, wide, 3, {strides, useBias: false})), 'swish');
    } else {
      if (expansion > 1) y = act(bn(conv(y, wide, 1, {useBias: false})), 'swish');
      if (strides === 2) y = L.zeroPadding2d({padding: [[1, 2], [2, 2]]}).apply(y);
      y = L.depthwiseConv2d({kernelSize, strides, padding: strides === 1 ? 'same' : 'valid', useBias: false}).apply(y);
      y = squeeze(act(bn(y), 'swish'), 2, 'swish');
    }
    y = bn(conv(y, filters, 1, {useBias: false}));
    if (strides === 1 && channels(before) === filters)
      y = L.add().apply([L.dropout({rate: 0.1, noiseShape: [null, 1, 1, 1]}).apply(y), before]);
  }
  return head(x, act(bn(conv(y, 16, 1, {useBias: false})), 'swish'));
}

function densenet() {
  const x = tf.input({shape: [24, 24, 3]});
  let y = L.zeroPadding2d({padding: [[3, 3], [3, 3]]}).apply(x);
  y = act(bn(L.conv2d({filters: 8, kernelSize: 7, strides: 2, useBias: false}).apply(y)));
  y = L.maxPooling2d({poolSize: 3, strides: 2}).apply(L.zeroPadding2d({padding: 1}).apply(y));
  for (let block = 0; block < 2; block++) {
    for (let i = 0; i < 3; i++) {
      let z = L.conv2d({filters: 12, kernelSize: 1, useBias: false}).apply(act(bn(y)));
      z = conv(act(bn(z)), 4, 3, {useBias: false});
      y = L.concatenate({axis: 3}).apply([y, z]);
    }
    if (block) break;
    y = L.conv2d({filters: channels(y) / 2, kernelSize: 1, useBias: false}).apply(act(bn(y)));
    y = L.averagePooling2d({poolSize: 2, strides: 2}).apply(y);
  }
  return head(x, act(bn(y)));
}

function inceptionV3() {
  const x = tf.input({shape: [35, 35, 3]});
  const unit = (y, filters, kernelSize, config = {}) => act(bn(conv(y, filters, kernelSize, {useBias: false, ...config}),
                                                              {scale: false, epsilon: 1e-3}));
  let y = unit(x, 4, 3, {strides: 2, padding: 'valid'});
  y = unit(y, 6, 3);
  y = L.maxPooling2d({poolSize: 3, strides: 2}).apply(y);
  const pool = (z) => L.averagePooling2d({poolSize: 3, strides: 1, padding: 'same'}).apply(z);
  y = L.concatenate({axis: 3}).apply([unit(y, 4, 1), unit(unit(y, 3, 1), 4, 5), unit(unit(unit(y, 4, 1), 6, 3), 6, 3), unit(pool(y), 3, 1)]);
  y = L.concatenate({axis: 3}).apply([unit(y, 6, 3, {strides: 2, padding: 'valid'}),
                                      unit(unit(unit(y, 4, 1), 6, 3), 6, 3, {strides: 2, padding: 'valid'}),
                                      L.maxPooling2d({poolSize: 3, strides: 2}).apply(y)]);
  y = L.concatenate({axis: 3}).apply([unit(y, 4, 1), unit(unit(unit(y, 4, 1), 4, [1, 7]), 4, [7, 1]), unit(pool(y), 4, 1)]);
  const split = unit(y, 4, 1);
  y = L.concatenate({axis: 3}).apply([L.concatenate({axis: 3}).apply([unit(split, 3, [1, 3]), unit(split, 3, [3, 1])]), unit(pool(y), 3, 1)]);
  return head(x, y);
}

function xception() {
  const x = tf.input({shape: [29, 29, 3]});
  const sep = (y, filters) => bn(L.separableConv2d({filters, kernelSize: 3, padding: 'same', useBias: false}).apply(y));
  let y = act(bn(L.conv2d({filters: 4, kernelSize: 3, strides: 2, useBias: false}).apply(x)));
  y = act(bn(L.conv2d({filters: 6, kernelSize: 3, useBias: false}).apply(y)));
  for (const filters of [8, 10]) {
    const shortcut = bn(conv(y, filters, 1, {strides: 2, useBias: false}));
    y = sep(act(sep(act(y), filters)), filters);
    y = L.add().apply([L.maxPooling2d({poolSize: 3, strides: 2, padding: 'same'}).apply(y), shortcut]);
  }
  let z = y;
  for (let i = 0; i < 3; i++) z = sep(act(z), 10);
  return head(x, act(sep(L.add().apply([z, y]), 12)));
}

// One reduction and one normal cell.
function nasnet() {
  const x = tf.input({shape: [25, 25, 3]});
  const sep = (y, filters, kernelSize, strides = 1) => {
    y = act(y);
    if (strides === 2) {
      const p = kernelSize >> 1;
      y = L.zeroPadding2d({padding: [[p - 1, p], [p, p]]}).apply(y);
    }
    y = L.separableConv2d({filters, kernelSize, strides, padding: strides === 2 ? 'valid' : 'same', useBias: false}).apply(y);
    y = act(bn(y, {epsilon: 1e-3}));
    return bn(L.separableConv2d({filters, kernelSize, padding: 'same', useBias: false}).apply(y), {epsilon: 1e-3});
  };
  const fit = (y, filters) => bn(conv(act(y), filters, 1, {useBias: false}), {epsilon: 1e-3});
  // The previous cell's output, at half its size: two paths, one of them shifted by a pixel.
  const adjust = (p, filters) => {
    p = act(p);
    let p1 = L.averagePooling2d({poolSize: 1, strides: 2, padding: 'valid'}).apply(p);
    let p2 = L.cropping2D({cropping: [[1, 0], [1, 0]]}).apply(corner(p));
    p2 = L.averagePooling2d({poolSize: 1, strides: 2, padding: 'valid'}).apply(p2);
    p1 = conv(p1, filters / 2, 1, {useBias: false});
    p2 = conv(p2, filters / 2, 1, {useBias: false});
    return bn(L.concatenate({axis: 3}).apply([p1, p2]), {epsilon: 1e-3});
  };
  const stem = bn(L.conv2d({filters: 6, kernelSize: 3, strides: 2, useBias: false}).apply(x), {epsilon: 1e-3});
  const h = fit(stem, 4);
  const even = L.zeroPadding2d({padding: [[1, 1], [1, 1]]}).apply(h);
  const a = L.add().apply([sep(h, 4, 5, 2), sep(stem, 4, 7, 2)]);
  const b = L.add().apply([L.maxPooling2d({poolSize: 3, strides: 2, padding: 'valid'}).apply(even), sep(stem, 4, 5, 2)]);
  const c = L.add().apply([L.averagePooling2d({poolSize: 3, strides: 1, padding: 'same'}).apply(a), b]);
  const reduced = L.concatenate({axis: 3}).apply([b, c]);
  const p = adjust(stem, 6), n = fit(reduced, 6);
  const d = L.add().apply([sep(n, 6, 5), sep(p, 6, 3)]);
  const e = L.add().apply([L.averagePooling2d({poolSize: 3, strides: 1, padding: 'same'}).apply(n), p]);
  return head(x, act(L.concatenate({axis: 3}).apply([p, d, e, sep(n, 6, 3)])));
}

async function families() {
  const all = {vgg, resnet_v1: resnetV1, resnet_v2: resnetV2, mobilenet_v1: mobilenetV1, mobilenet_v2: mobilenetV2,
               efficientnet_v1: () => efficientnet(false), efficientnet_v2: () => efficientnet(true), densenet,
               inception_v3: inceptionV3, xception, nasnet};
  for (const [name, make] of Object.entries(all)) await addCase(`family/${name}`, make(), {batch: 2});
}

for (const group of [convolutions, pooling, shapes, elementwise, merges, sequences, graphs, families]) await group();
const text = lines.join('\n') + '\n';
fs.writeFileSync(outPath, zlib.gzipSync(text, {level: 9}));
console.log(`${lines.length} cases, ${text.length} bytes, ${fs.statSync(outPath).size} compressed`);
