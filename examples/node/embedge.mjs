// Embeddings for an Electron or Node program: `embedge pipe` as a child process.
//
// In Electron this belongs in the main process, or a utility process, never in a page. Copy this
// file: it needs nothing but Node.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A request that embedge refused, or could not carry out; `type` is the name of its error. */
export class EmbedgeError extends Error {
  constructor(type, message) {
    super(message);
    this.name = "EmbedgeError";
    this.type = type;
  }
}

/**
 * One `embedge pipe`, started at the first request and again after it ended, whatever the reason.
 *
 *     const embedge = new Embedge();
 *     const { vectors } = await embedge.embed(["one", "two"], { task: "retrieval" });
 *     embedge.close();
 */
export class Embedge {
  #command;
  #args;
  #child = null; // the process and its first line: { process, ready }
  #waiting = new Map(); // id -> { resolve, reject, onProgress }
  #lastId = 0;

  /** @param {{ command?: string, args?: string[] }} options the program, such as a frozen one. */
  constructor({ command = "embedge", args = ["pipe"] } = {}) {
    this.#command = command;
    this.#args = args;
  }

  /** Starts the process, which requests do by themselves; its id, and what the model is. */
  async start() {
    const child = this.#start();
    const model = await child.ready;
    return { pid: child.process.pid, model };
  }

  /**
   * Vectors of texts, Float32Array each, and null for those that have none, with `errors` saying why.
   *
   * @param {string[]} texts
   * @param {object} options fields of a request: task, side, truncate_dim, ...
   * @param {{ signal?: AbortSignal, onProgress?: (done: number, total: number) => void }} control
   */
  async embed(texts, options = {}, { signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const id = ++this.#lastId;
    const child = this.#start();
    const cancel = () => this.#write(child, { cancel: id });
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { child, resolve, reject, onProgress });
        signal?.addEventListener("abort", cancel, { once: true });
        const own = { id, texts, encoding_format: "base64", progress: Boolean(onProgress) };
        this.#write(child, { ...options, ...own });
      });
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Ends the process; it answers what is under way first. */
  close() {
    this.#child?.process.stdin.end();
    this.#child = null;
  }

  #start() {
    if (this.#child !== null) return this.#child;
    const process = spawn(this.#command, this.#args, { stdio: ["pipe", "pipe", "pipe"] });
    const child = { process };
    this.#child = child;
    let said = ""; // the end of what it wrote on stderr, for the error's message
    process.stderr.setEncoding("utf8").on("data", (text) => (said = (said + text).slice(-2000)));
    process.stdin.on("error", () => {}); // it ended: "close" below says so
    child.ready = new Promise((resolve, reject) => {
      createInterface({ input: process.stdout }).on("line", (line) => {
        const answer = JSON.parse(line);
        if (answer.ready) resolve(answer.ready);
        else this.#take(answer);
      });
      const end = (reason) => {
        if (this.#child === child) this.#child = null; // the next request starts another
        const error = new EmbedgeError("ProcessEnded", `embedge ended (${reason}) ${said}`.trim());
        reject(error);
        for (const one of this.#waiting.values()) if (one.child === child) one.reject(error);
      };
      process.on("error", (error) => end(error.message)); // the program was not found
      process.on("close", (code, signal) => end(signal ?? `exit code ${code}`));
    });
    child.ready.catch(() => {}); // who asks for it sees the error; others see theirs
    return child;
  }

  #write(child, message) {
    if (child.process.stdin.writable) child.process.stdin.write(`${JSON.stringify(message)}\n`);
  }

  #take({ id, progress, embeddings, errors = [], error }) {
    const one = this.#waiting.get(id);
    if (one === undefined) return;
    if (progress) one.onProgress?.(progress.done, progress.total);
    else if (error) one.reject(new EmbedgeError(error.type, error.message));
    else one.resolve({ vectors: embeddings.map((row) => row && numbers(row)), errors });
  }
}

/** Base64 of little-endian float32 as numbers; the bytes are copied to where floats may stand. */
function numbers(text) {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new Float32Array(bytes.buffer);
}
