// How often does an official TypeScript client ask again, after a stream of its has ended?
//
// In: one JSON document on stdin: url, package, seconds, endings (name, calls). Every ending gets a client of its own,
// which makes its calls and then waits. Out: by name, how the last call ended and the requests of the wait.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../node/package.json", import.meta.url));

const PACKAGES = {
  sdk: () => ({
    ...require("@modelcontextprotocol/sdk/client/index.js"),
    ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
  }),
  client: () => require("@modelcontextprotocol/client"),
};

async function play({ Client, StreamableHTTPClientTransport }, job, { name, calls }) {
  const seen = [];
  const counted = (url, init) => {
    seen.push(`${init?.method ?? "GET"} ${init?.body ? JSON.parse(init.body).method : ""}`.trim());
    return fetch(url, init);
  };
  const client = new Client({ name: "reconnects", version: "1" });
  client.onerror = () => {};
  await client.connect(new StreamableHTTPClientTransport(new URL(job.url), { fetch: counted }));
  let outcome = "";
  for (const call of calls) {
    const params = { name: call.tool, arguments: call.arguments };
    outcome = await client.callTool(params).then(
      () => "result",
      () => "error",
    );
  }
  const before = seen.length;
  await new Promise((done) => setTimeout(done, job.seconds * 1000));
  const after = seen.slice(before);
  await client.close();
  return [name, { outcome, requests: after }];
}

const job = JSON.parse(await text(process.stdin));
const sdk = PACKAGES[job.package]();
const played = await Promise.all(job.endings.map((ending) => play(sdk, job, ending)));
process.stdout.write(JSON.stringify(Object.fromEntries(played)));
