// A page that asks its server for jobs, does them with onnxruntime-web, and posts the results.
//
// A message is the length of a JSON header (uint32, little-endian), the header, and arrays, each
// at a multiple of eight bytes. `backends/webgpu_browser/messages.py` is the other side.
import * as ort from "./ort.webgpu.bundle.min.mjs";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array,
  uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array,
  uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array, bool: Uint8Array,
};

const aligned = (offset) => Math.ceil(offset / 8) * 8;

function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = aligned(4 + length);
  const parts = header.sizes.map((size) => {
    const start = offset;
    offset = aligned(offset + size);
    return [start, size];
  });
  return { header, parts };
}

function packed(header, arrays = []) {
  const sizes = arrays.map((array) => array.byteLength);
  const text = new TextEncoder().encode(JSON.stringify({ ...header, sizes }));
  let offset = aligned(4 + text.length);
  const made = new Uint8Array(sizes.reduce((sum, size) => sum + aligned(size), offset));
  new DataView(made.buffer).setUint32(0, text.length, true);
  made.set(text, 4);
  for (const array of arrays) {
    made.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), offset);
    offset += aligned(array.byteLength);
  }
  return made;
}

// What ONNX Runtime says of the placement of nodes, it says on the console.
let lines = [];
for (const name of ["log", "info", "warn", "error", "debug"]) {
  const own = console[name];
  console[name] = (...words) => {
    lines.push(words.join(" "));
    own.apply(console, words);
  };
}

let session;

const actions = {
  async adapter() {
    const adapter = navigator.gpu ? await navigator.gpu.requestAdapter() : null;
    if (!adapter) return packed({ adapter: null });
    const { vendor, architecture, device, description } = adapter.info;
    const features = [...adapter.features];
    return packed({ adapter: { vendor, architecture, device, description, features } });
  },
  async open(header, buffer, [[start, size]]) {
    lines = [];
    const model = new Uint8Array(buffer, start, size);
    session = await ort.InferenceSession.create(model, header.options);
    return packed({ lines });
  },
  async run(header, buffer, parts) {
    const feeds = {};
    header.feeds.forEach(({ name, type, dims }, i) => {
      const [start, size] = parts[i];
      const kind = ARRAYS[type];
      const data = new kind(buffer, start, size / kind.BYTES_PER_ELEMENT);
      feeds[name] = new ort.Tensor(type, data, dims);
    });
    const found = await session.run(feeds);
    const outputs = [], arrays = [];
    for (const name of session.outputNames) {
      outputs.push({ type: found[name].type, dims: found[name].dims });
      arrays.push(await found[name].getData());
    }
    return packed({ outputs }, arrays);
  },
  async lose() {
    (await ort.env.webgpu.device).destroy();
    return packed({});
  },
  async loop() {
    for (;;);
  },
};

// The server sees the end of this connection, and with it that of the page.
fetch("alive").catch(() => {});

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./", location.href).href;
for (;;) {
  const buffer = await (await fetch("job", { method: "POST" })).arrayBuffer();
  const { header, parts } = unpacked(buffer);
  let answer;
  try {
    answer = await actions[header.action](header, buffer, parts);
  } catch (error) {
    answer = packed({ error: String(error?.message ?? error) });
  }
  await fetch("result", { method: "POST", body: answer });
}
