// transformers.js on a hub folder, and ONNX Runtime for Node on a graph, beside node_modules.
//
//     node consumer.mjs FOLDER SUFFIX PADDING < {"texts": […], "pooling": "mean"}
//
// FOLDER: <models>/<name>, SUFFIX: dtype of transformers.js. Prints the vectors of the pipeline and
// of the graph's own output, not normalized.
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AutoModel, AutoTokenizer, env, pipeline } from "@huggingface/transformers";
import * as ort from "onnxruntime-node";

const [folder, dtype, padding] = process.argv.slice(2);
const { texts, pooling } = JSON.parse(readFileSync(0, "utf8"));
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);

const name = basename(folder);
const extractor = await pipeline("feature-extraction", name, { dtype });
extractor.tokenizer.padding_side = padding;
const found = { pipeline: (await extractor(texts, { pooling })).tolist() };

const tokenizer = await AutoTokenizer.from_pretrained(name);
tokenizer.padding_side = padding;
const inputs = tokenizer(texts, { padding: true });
const model = await AutoModel.from_pretrained(name, { dtype });
found.model = (await model(inputs)).sentence_embedding.tolist();

const files = { fp32: "model", fp16: "model_fp16", q8: "model_quantized" };
const session = await ort.InferenceSession.create(`${folder}/onnx/${files[dtype]}.onnx`);
const feed = {};
for (const key of ["input_ids", "attention_mask"]) {
  const { data, dims } = inputs[key];
  feed[key] = new ort.Tensor("int64", BigInt64Array.from(data), dims);
}
const { sentence_embedding: vectors } = await session.run(feed, ["sentence_embedding"]);
const [, width] = vectors.dims;
found.session = texts.map((_, i) => Array.from(vectors.data.slice(i * width, (i + 1) * width)));
console.log(JSON.stringify(found));
