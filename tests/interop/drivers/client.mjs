// Plays one scenario with an official TypeScript client and prints what the client saw. Which one, and in which
// mode, is in the job: `@modelcontextprotocol/sdk` knows the handshake only, `@modelcontextprotocol/client` both eras.
//
// In: one JSON document on stdin, see tests/interop/transcripts.py. Out: one JSON document on stdout.
// The twin of client.py: same steps, same transcript, so that one scenario serves both.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../node/package.json", import.meta.url));

/** What differs between the two packages. */
const PACKAGES = {
  sdk() {
    const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
    const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
    const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { InMemoryTaskStore } = require("@modelcontextprotocol/sdk/experimental/tasks");
    const types = require("@modelcontextprotocol/sdk/types.js");
    const schemas = [types.ListRootsRequestSchema, types.CreateMessageRequestSchema, types.ElicitRequestSchema];
    const requests = { sampling: { createMessage: {} }, elicitation: { create: {} } };
    return {
      Client,
      StdioClientTransport,
      StreamableHTTPClientTransport,
      ProtocolError: types.McpError,
      types,
      requests: schemas,
      capabilities: { tasks: { list: {}, cancel: {}, requests } },
      // No message queue: with one, this client keeps its answer to an elicitation of a task of the
      // server's for itself, in plain stdio too.
      options: () => ({ taskStore: new InMemoryTaskStore() }),
      callTool: (client, params, options) => client.callTool(params, undefined, options),
      isModern: () => false,
    };
  },
  client() {
    const { Client, StreamableHTTPClientTransport, ProtocolError } = require("@modelcontextprotocol/client");
    const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");
    return {
      Client,
      StdioClientTransport,
      StreamableHTTPClientTransport,
      ProtocolError,
      requests: ["roots/list", "sampling/createMessage", "elicitation/create"],
      capabilities: {},
      options: (mode) => ({ versionNegotiation: { mode } }),
      callTool: (client, params, options) => client.callTool(params, options),
      isModern: (client) => client.getProtocolEra() === "modern",
    };
  },
};

const LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel";
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
  if (error instanceof sdk.ProtocolError) {
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
    this.client = new sdk.Client(job.clientInfo, {
      capabilities: {
        roots: { listChanged: true },
        sampling: {},
        elicitation: { form: {}, url: {} },
        ...sdk.capabilities,
      },
      ...sdk.options(job.mode),
    });
    this.client.onerror = (error) => this.recorder.faults.push(String(error?.message ?? error));
    this.client.fallbackNotificationHandler = async ({ method, params }) => this.recorder.add(method, params ?? {});
    for (const request of sdk.requests) {
      this.client.setRequestHandler(request, (request, extra) => this.answer(request, extra));
    }
  }

  async answer({ method, params }, extra) {
    const { result, error } = this.answers[method];
    this.recorder.add(method, { params: params ?? {}, answer: result ?? error });
    if (error) throw new sdk.ProtocolError(error.code, error.message);
    if (!params?.task) return result;
    const task = await extra.taskStore.createTask({ ttl: params.task.ttl, pollInterval: 100 });
    await extra.taskStore.storeTaskResult(task.taskId, "completed", result);
    return { task };
  }

  transport() {
    const { stdio, url } = this.job.connect;
    if (url) return new sdk.StreamableHTTPClientTransport(new URL(url));
    return new sdk.StdioClientTransport(stdio);
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
    // Over stdio a slow start would be taken for a server of the handshake era.
    await this.client.connect(transport, { timeout: 6 * this.options.timeout });
    this.noteProgress(transport);
    const server = {
      protocolVersion: this.client.getNegotiatedProtocolVersion?.() ?? protocolVersion,
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

  /** Hears of changes of the list of resources, and of some of them, as the era of the connection does it. */
  async watch({ uris }) {
    if (sdk.isModern(this.client)) {
      this.subscription = await this.client.listen({ resourcesListChanged: true, resourceSubscriptions: uris }, this.options);
    } else {
      for (const uri of uris) await this.client.subscribeResource({ uri }, this.options);
    }
  }

  async unwatch({ uris }) {
    await this.subscription?.close();
    if (!sdk.isModern(this.client)) {
      for (const uri of uris) await this.client.unsubscribeResource({ uri }, this.options);
    }
  }

  get_prompt = (params) => this.client.getPrompt(params, this.options);
  complete = (params) => this.client.complete(params, this.options);
  set_level = ({ level }) => this.client.setLoggingLevel(level, this.options);
  request = ({ method, params }) => this.client.request({ method, params }, sdk.types.ResultSchema, this.options);
  roots_changed = () => this.client.sendRootsListChanged();

  async set_answer({ method, answer }) {
    this.answers[method] = answer;
  }

  async call({ name, arguments: args, until }, progress) {
    const log = this.job.logLevel && sdk.isModern(this.client) ? { [LOG_LEVEL_KEY]: this.job.logLevel } : {};
    const _meta = { [STEP_KEY]: this.progress.push(progress) - 1, ...log };
    const options = { ...this.options, onprogress: () => {} };
    const deadline = Date.now() + this.job.limitSeconds * 1000;
    for (;;) {
      const result = await sdk.callTool(this.client, { name, arguments: args, _meta }, options);
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
    const running = sdk.callTool(this.client, { name, arguments: args }, options).then(
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
    const created = await this.client.request({ method: "tools/call", params }, sdk.types.CreateTaskResultSchema, this.options);
    this.taskId = created.task.taskId;
    return created;
  }

  task_get = () => this.client.experimental.tasks.getTask(this.taskId, this.options);
  task_list = () => this.client.experimental.tasks.listTasks(undefined, this.options);
  task_cancel = () => this.client.experimental.tasks.cancelTask(this.taskId, this.options);
  task_result = () =>
    this.client.experimental.tasks.getTaskResult(this.taskId, sdk.types.CallToolResultSchema, this.options);
}

const job = JSON.parse(await text(process.stdin));
const sdk = PACKAGES[job.package]();
const player = new Player(job);
process.stdout.write(JSON.stringify(await player.play()), () => process.exit(0));
