// `npm test`: the class against a real `embedge pipe`. EMBEDGE names the program, if it is not
// found by its name.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";

import { Embedge, EmbedgeError } from "./embedge.mjs";

const command = process.env.EMBEDGE ?? "embedge";
const embedge = new Embedge({ command });
after(() => embedge.close());

const length = (vector) => Math.hypot(...vector);
const many = (count) => Array.from({ length: count }, (_, n) => `sentence number ${n} of a long job`);

test("the first line says what the model is", async () => {
  const { model } = await embedge.start();
  assert.ok(model.tasks.includes("retrieval"));
  assert.equal(model.dimension, 256);
});

test("vectors are those of the command line", async () => {
  const { vectors, errors } = await embedge.embed(["ein", "zwei"], { task: "retrieval" });
  assert.deepEqual(errors, []);
  assert.ok(Math.abs(length(vectors[0]) - 1) < 1e-5);
  const line = execFileSync(command, ["embed", "-q", "--task", "retrieval", "-t", "ein"]);
  assert.deepEqual(vectors[0], Float32Array.from(JSON.parse(line).embedding));
});

test("a bad item has no vector, and the others have", async () => {
  const { vectors, errors } = await embedge.embed(["good", 3]);
  assert.equal(vectors[0].length, 256);
  assert.equal(vectors[1], null);
  assert.equal(errors[0].index, 1);
});

test("an error has embedge's sentence", async () => {
  await assert.rejects(embedge.embed(["text"], { task: "retreival" }), (error) => {
    assert.ok(error instanceof EmbedgeError);
    assert.equal(error.type, "OptionError");
    return /retreival/.test(error.message);
  });
});

test("progress comes, and a query is answered while a long job runs, which can be cancelled", async () => {
  const control = new AbortController();
  let steps = 0;
  let started;
  const running = new Promise((resolve) => (started = resolve));
  const job = embedge.embed(many(200_000), {}, {
    signal: control.signal,
    onProgress: () => (steps++, started()),
  });
  await running;
  const { vectors } = await embedge.embed("a query", { side: "query" });
  assert.equal(vectors.length, 1);
  control.abort();
  await assert.rejects(job, { name: "AbortError" });
  assert.ok(steps > 0);
});

test("a process that is killed fails its requests, and the next request has a new one", async () => {
  const mortal = new Embedge({ command: process.execPath, args: ["-e", "process.exit(3)"] });
  await assert.rejects(mortal.embed(["text"]), /exit code 3/);
  const absent = new Embedge({ command: "no-such-embedge" });
  await assert.rejects(absent.embed(["text"]), /ENOENT/);

  const { pid } = await embedge.start();
  const lost = embedge.embed(many(200_000));
  process.kill(pid, "SIGKILL");
  await assert.rejects(lost, /SIGKILL/);
  const { vectors } = await embedge.embed(["after the crash"]);
  assert.equal(vectors[0].length, 256);
  assert.notEqual((await embedge.start()).pid, pid);
});
