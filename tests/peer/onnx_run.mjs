// Runs ONNX models: node onnx_run.mjs PEERS JOBS. PEERS has node_modules/onnxruntime-node. Each line of JOBS is
// {"model": FILE, "x": [{"shape", "file"}, ...], "y": PREFIX}: float32 inputs in the model's order, whose outputs go
// to the files PREFIX0, PREFIX1, ... A line is printed for each: {"y": [shapes]} or {"error"}.
import fs from 'fs';
import path from 'path';
import {createRequire} from 'module';

const [peers, jobs] = process.argv.slice(2);
const require = createRequire(path.resolve(peers, 'node_modules') + '/');
const ort = require('onnxruntime-node');

function read({shape, file}) {
  const bytes = fs.readFileSync(file);
  return new ort.Tensor('float32', new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), shape);
}

async function run({model, x, y}) {
  const options = {intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3, graphOptimizationLevel: process.env.OPT ?? 'all'};
  const session = await ort.InferenceSession.create(model, options);
  const feeds = {};
  session.inputNames.forEach((name, i) => feeds[name] = read(x[i]));
  const results = await session.run(feeds);
  const shapes = session.outputNames.map((name, i) => {
    const {data, dims} = results[name];
    fs.writeFileSync(y + i, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    return dims;
  });
  await session.release();
  return {y: shapes, names: [session.inputNames, session.outputNames]};
}

for (const line of fs.readFileSync(jobs, 'utf8').split('\n')) {
  if (!line) continue;
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = {error: String(error.message ?? error)};
  }
  console.log(JSON.stringify(answer));
}
