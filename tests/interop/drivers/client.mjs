// Plays one scenario with the official TypeScript client and prints what the client saw.
//
// In: one JSON document on stdin, see tests/interop/transcripts.py. Out: one JSON document on stdout.
// The twin of client.py: same steps, same transcript, so that one scenario serves both.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { InMemoryTaskStore } = require("@modelcontextprotocol/sdk/experimental/tasks");
const types = require("@modelcontextprotocol/sdk/types.js");

const STEP_KEY = "example.invalid/step";

class Recorder {
  inbound = {};
  faults = [];
  #waiters = new Set();

  add(method, entry) {
    (this.inbound[method] ??= []).push(entry);
    this.#wake();
  }

  #wake() {
    for (const look of [...this.#waiters]) look();
  }

  /** Resolves with what is still missing, empty when every count was reached in time. */
  until(counts, seconds) {
    const missing = () =>
      Object.fromEntries(
        Object.entries(counts)
          .map(([method, wanted]) => [method, { wanted, seen: this.inbound[method]?.length ?? 0 }])
          .filter(([, { wanted, seen }]) => seen < wanted),
      );
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        resolve(missing());
      };
      const look = () => Object.keys(missing()).length === 0 && finish();
      const timer = setTimeout(finish, seconds * 1000);
      this.#waiters.add(look);
      look();
    });
  }
}

function plainError(error) {
  if (error instanceof types.McpError) {
    const data = error.data === undefined ? {} : { data: error.data };
    return { code: error.code, message: error.message, ...data };
  }
  return { type: error?.name ?? typeof error, message: String(error?.message ?? error) };
}

class Player {
  constructor(job) {
    this.job = job;
    this.recorder = new Recorder();
    this.answers = { ...job.answers };
    this.progress = [];
    this.options = { timeout: job.limitSeconds * 1000 };
    this.client = new Client(job.clientInfo, {
      capabilities: {
        roots: { listChanged: true },
        sampling: {},
        elicitation: { form: {}, url: {} },
        tasks: { list: {}, cancel: {}, requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } },
      },
      // No message queue: with one, this client keeps its answer to an elicitation of a task of the
      // server's for itself, in plain stdio too.
      taskStore: new InMemoryTaskStore(),
    });
    this.client.onerror = (error) => this.recorder.faults.push(String(error?.message ?? error));
    this.client.fallbackNotificationHandler = async ({ method, params }) => this.recorder.add(method, params ?? {});
    for (const schema of [types.ListRootsRequestSchema, types.CreateMessageRequestSchema, types.ElicitRequestSchema]) {
      this.client.setRequestHandler(schema, (request, extra) => this.answer(request, extra));
    }
  }

  async answer({ method, params }, extra) {
    const { result, error } = this.answers[method];
    this.recorder.add(method, { params: params ?? {}, answer: result ?? error });
    if (error) throw new types.McpError(error.code, error.message);
    if (!params?.task) return result;
    const task = await extra.taskStore.createTask({ ttl: params.task.ttl, pollInterval: 100 });
    await extra.taskStore.storeTaskResult(task.taskId, "completed", result);
    return { task };
  }

  transport() {
    const { stdio, url } = this.job.connect;
    if (url) return new StreamableHTTPClientTransport(new URL(url));
    return new StdioClientTransport(stdio);
  }

  /**
   * Notes progress as it comes off the transport. The client's own ``onprogress`` misses the last one whenever
   * the response is in the same read, for it handles responses at once and notifications a tick later.
   */
  noteProgress(transport) {
    const receivers = new Map();
    const { onmessage } = transport;
    const send = transport.send.bind(transport);
    transport.send = (message, options) => {
      const meta = message.params?._meta;
      if (meta?.[STEP_KEY] !== undefined) receivers.set(meta.progressToken, this.progress[meta[STEP_KEY]]);
      return send(message, options);
    };
    transport.onmessage = (message, extra) => {
      if (message.method === "notifications/progress") {
        const { progressToken, ...update } = message.params;
        receivers.get(progressToken)?.push(update);
      }
      onmessage(message, extra);
    };
  }

  async play() {
    const transport = this.transport();
    const adopt = transport.setProtocolVersion?.bind(transport);
    let protocolVersion;
    transport.setProtocolVersion = (version) => {
      protocolVersion = version;
      adopt?.(version);
    };
    await this.client.connect(transport, this.options);
    this.noteProgress(transport);
    const server = {
      protocolVersion,
      info: this.client.getServerVersion(),
      capabilities: this.client.getServerCapabilities(),
      instructions: this.client.getInstructions() ?? null,
    };
    const steps = [];
    const counts = {};
    const giveUp = Date.now() + this.job.giveUpAfterSeconds * 1000;
    for (const step of this.job.steps) {
      const late = Date.now() > giveUp;
      const outcome = late ? { error: { type: "OutOfTime", message: "" } } : await this.take(step);
      for (const [method, count] of Object.entries(step.expect)) counts[method] = (counts[method] ?? 0) + count;
      const missing = await this.recorder.until(counts, late ? 0 : this.job.limitSeconds);
      // Say it once; the next step waits for its own.
      for (const [method, { seen }] of Object.entries(missing)) counts[method] = seen;
      steps.push({ name: step.name, ...outcome, ...(Object.keys(missing).length ? { missing } : {}) });
    }
    if (transport.terminateSession) await transport.terminateSession();
    await this.client.close();
    return { server, steps, inbound: this.recorder.inbound, faults: this.recorder.faults };
  }

  async take(step) {
    const progress = [];
    try {
      const result = await this[step.op](step.args, progress);
      return { result: result ?? null, ...(progress.length ? { progress } : {}) };
    } catch (error) {
      return { error: plainError(error), ...(progress.length ? { progress } : {}) };
    }
  }

  // One method per operation of tests/interop/steps.py.

  ping = () => this.client.ping(this.options);
  list_tools = () => this.client.listTools({}, this.options);
  list_resources = () => this.client.listResources({}, this.options);
  list_resource_templates = () => this.client.listResourceTemplates({}, this.options);
  list_prompts = () => this.client.listPrompts({}, this.options);
  read = ({ uri }) => this.client.readResource({ uri }, this.options);
  subscribe = ({ uri }) => this.client.subscribeResource({ uri }, this.options);
  unsubscribe = ({ uri }) => this.client.unsubscribeResource({ uri }, this.options);
  get_prompt = (params) => this.client.getPrompt(params, this.options);
  complete = (params) => this.client.complete(params, this.options);
  set_level = ({ level }) => this.client.setLoggingLevel(level, this.options);
  request = ({ method, params }) => this.client.request({ method, params }, types.ResultSchema, this.options);
  roots_changed = () => this.client.sendRootsListChanged();

  async set_answer({ method, answer }) {
    this.answers[method] = answer;
  }

  async call({ name, arguments: args, until }, progress) {
    const _meta = { [STEP_KEY]: this.progress.push(progress) - 1 };
    const options = { ...this.options, onprogress: () => {} };
    const deadline = Date.now() + this.job.limitSeconds * 1000;
    for (;;) {
      const result = await this.client.callTool({ name, arguments: args, _meta }, undefined, options);
      if (!until || JSON.stringify(result).includes(until) || Date.now() > deadline) return result;
    }
  }

  /** Starts a call, cancels it at the moment that ``after`` names, and gives how it ended. */
  async cancel({ name, arguments: args, after }) {
    const stop = new AbortController();
    let progressed = 0;
    const onprogress = () => {
      progressed += 1;
      if (progressed === after.progress) stop.abort("stopped by the test");
    };
    const options = { ...this.options, signal: stop.signal, onprogress };
    const running = this.client.callTool({ name, arguments: args }, undefined, options).then(
      (result) => ({ finished: result }),
      (error) => ({ cancelled: plainError(error) }),
    );
    if (after.url) {
      await fetch(after.url, { signal: AbortSignal.timeout(this.options.timeout) });
      stop.abort("stopped by the test");
    }
    return running;
  }

  async together({ steps }) {
    return Promise.all(steps.map((step) => this.take(step)));
  }

  async task_call({ name, arguments: args }) {
    const params = { name, arguments: args, task: { ttl: 60_000 } };
    const created = await this.client.request({ method: "tools/call", params }, types.CreateTaskResultSchema, this.options);
    this.taskId = created.task.taskId;
    return created;
  }

  task_get = () => this.client.experimental.tasks.getTask(this.taskId, this.options);
  task_list = () => this.client.experimental.tasks.listTasks(undefined, this.options);
  task_cancel = () => this.client.experimental.tasks.cancelTask(this.taskId, this.options);
  task_result = () =>
    this.client.experimental.tasks.getTaskResult(this.taskId, types.CallToolResultSchema, this.options);
}

const player = new Player(JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify(await player.play()), () => process.exit(0));
