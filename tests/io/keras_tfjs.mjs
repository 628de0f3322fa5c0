// Reads a Keras model from a .h5 into TensorFlow.js, assigning weights to layers by their order as Keras does.
// tf and h5: the modules @tensorflow/tfjs and h5wasm (scripts/install_peers.sh).

function names(group, key) {
  if (group.attrs[key]) return [...group.attrs[key].value];
  const all = [];
  for (let i = 0; group.attrs[key + i]; i++) all.push(...group.attrs[key + i].value);
  return all;
}

export async function readKeras(tf, h5, path) {
  const file = new h5.File(path, 'r');
  const config = JSON.parse(file.attrs['model_config'].value);
  if (config.class_name === 'Functional') config.class_name = 'Model';
  const model = await tf.models.modelFromJSON({model_config: config});
  const root = file.get('model_weights');
  const groups = names(root, 'layer_names').filter((name) => names(root.get(name), 'weight_names').length);
  const layers = model.layers.filter((layer) => layer.weights.length);
  if (groups.length !== layers.length) throw new Error(`${groups.length} groups with weights, ${layers.length} layers`);
  groups.forEach((name, i) => {
    const group = root.get(name);
    const weights = names(group, 'weight_names').map((weight) => {
      const data = group.get(weight);
      return tf.tensor(Float32Array.from(data.value), data.shape);
    });
    layers[i].setWeights(weights);
  });
  file.close();
  return model;
}
