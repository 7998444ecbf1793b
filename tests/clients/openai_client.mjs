// The vectors that the npm package `openai` gives: node openai_client.mjs URL KEY MODEL TEXT …
import OpenAI from "openai";

const [url, key, model, ...input] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const rows = async (options) => {
  const answer = await client.embeddings.create({ model, input, ...options });
  return answer.data.map((one) => one.embedding);
};
const failure = await client.embeddings.create({ model, input: [""] }).catch((error) => error);
console.log(
  JSON.stringify({
    default: await rows({}), // the SDK asks for base64, and decodes it
    float: await rows({ encoding_format: "float" }),
    base64: await rows({ encoding_format: "base64" }),
    error: { status: failure.status, message: failure.message },
  }),
);
