// What do many clients of an official TypeScript package see of one process that all share?
//
// In: one JSON document on stdin: url, package, numbers. Every number is a client; all play at once. Out: by number, what
// it has seen.

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
const COUNTER = "demo://counter";

async function until(isSo) {
  const deadline = Date.now() + 30_000;
  while (!isSo() && Date.now() < deadline) await new Promise((done) => setTimeout(done, 20));
}

async function play({ Client, StreamableHTTPClientTransport }, job, number) {
  const seen = { logs: [], totals: [], updates: 0 };
  const client = new Client({ name: `client ${number}`, version: "1" });
  client.onerror = () => {};
  client.fallbackNotificationHandler = async ({ method, params }) => {
    if (method === "notifications/message") seen.logs.push(params.data);
    if (method === "notifications/resources/updated") seen.updates += 1;
  };
  await client.connect(new StreamableHTTPClientTransport(new URL(job.url)));
  const call = (name, args, options) =>
    job.package === "sdk"
      ? client.callTool({ name, arguments: args }, undefined, options)
      : client.callTool({ name, arguments: args }, options);
  await client.setLoggingLevel(number % 2 ? "info" : "error");
  if (number % 2) await client.subscribeResource({ uri: COUNTER });
  seen.echo = (await call("echo", { text: `client ${number}` })).content[0].text;
  const onprogress = ({ total }) => seen.totals.push(total);
  seen.slow = (await call("slow", { steps: 2 + number, seconds: 0.001 }, { onprogress })).content[0].text;
  const stop = new AbortController();
  const abort = () => stop.abort("stopped by the test");
  seen.cancelled = await call("slow", { steps: 1000, seconds: 0.05 }, { signal: stop.signal, onprogress: abort }).then(
    () => false,
    () => true,
  );
  await call("log", { level: "info", text: `client ${number}` });
  await call("touch", {});
  if (number % 2) await until(() => seen.updates > 0);
  await client.close();
  return [number, seen];
}

const job = JSON.parse(await text(process.stdin));
const sdk = PACKAGES[job.package]();
const played = await Promise.all(job.numbers.map((number) => play(sdk, job, number)));
process.stdout.write(JSON.stringify(Object.fromEntries(played)));
