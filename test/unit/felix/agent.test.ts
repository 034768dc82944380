import assert from "node:assert/strict";
import { test } from "node:test";
import type { ToDataplane } from "#calc";
import type { ApplyResult, Dataplane } from "#dataplane";
import type { ModelUpdate } from "#model";
import { Agent, type AgentEnd, type AgentGraph } from "../../../src/felix/agent.ts";

const ready = (isReady: boolean): ModelUpdate => ({
  key: { kind: "ClusterInformation" },
  value: { ready: isReady, clusterGuid: "g", clusterType: "", calicoVersion: "" },
});
const felixConfig = (
  name: string,
  params: Readonly<Record<string, string>>,
  more: { readonly nodeSelector?: string; readonly creationTimestamp?: string } = {},
): ModelUpdate => ({
  key: { kind: "FelixConfiguration", name },
  value: { creationTimestamp: "2026-01-01T00:00:00Z", nodeSelector: "", params, ...more },
});
const tier = (name: string): ModelUpdate => ({
  key: { kind: "Tier", name },
  value: { defaultAction: "Deny" },
});

/** Emits one message for each update, so that tests see what arrives when. */
class EchoGraph implements AgentGraph {
  #pending: ToDataplane[] = [];
  configure(): void {}
  onUpdates(updates: readonly ModelUpdate[]): void {
    for (const { key } of updates)
      if (key.kind === "Tier") this.#pending.push({ case: "ipsetRemove", value: { id: key.name } });
  }
  onStatus(status: string): void {
    if (status === "in-sync") this.#pending.push({ case: "inSync", value: {} });
  }
  flush(emit: (message: ToDataplane) => void): void {
    const messages = this.#pending;
    this.#pending = [];
    for (const message of messages) emit(message);
  }
}

class RecordingDataplane implements Dataplane {
  readonly rounds: string[][] = [];
  results: Partial<ApplyResult>[] = [];
  gate: Promise<void> | undefined;
  closed = false;
  #messages: string[] = [];
  #wanted: () => void = () => {};
  onMessage(message: ToDataplane): void {
    this.#messages.push(message.case === "ipsetRemove" ? message.value.id : message.case);
  }
  async apply(): Promise<ApplyResult> {
    this.rounds.push(this.#messages);
    this.#messages = [];
    await this.gate;
    return { complete: true, errors: [], writes: 0, ...this.results.shift() };
  }
  onWanted(callback: () => void): void {
    this.#wanted = callback;
  }
  want(): void {
    this.#wanted();
  }
  onStatus(): void {}
  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

function harness(local: Readonly<Record<string, string>> = {}) {
  const dataplane = new RecordingDataplane();
  const starts: Readonly<Record<string, unknown>>[] = [];
  const reconfigured: string[] = [];
  const agent = new Agent({
    hostname: "node-a",
    hostnameDefault: "node-a",
    local: { "environment variable": local },
    graph: new EchoGraph(),
    start: ({ values }) => {
      starts.push({ LogPrefix: values.LogPrefix, HealthPort: values.HealthPort });
      return Promise.resolve(dataplane);
    },
    reconfigure: ({ values }) => void reconfigured.push(values.ClusterGUID),
    nowMs: () => performance.now(),
  });
  let end: AgentEnd | undefined;
  void agent.ended.then((value) => (end = value));
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { agent, dataplane, starts, reconfigured, settle, ended: () => end, ...agent.callbacks };
}

test("nothing reaches the dataplane before in-sync and readiness; configuration comes first", async () => {
  const h = harness();
  h.onStatus("resync");
  h.onUpdates([tier("a"), felixConfig("default", { LogPrefix: "x" })]);
  await h.settle();
  assert.deepEqual(h.starts, []);
  h.onStatus("in-sync");
  assert.equal(h.agent.waitingFor, "there is no ClusterInformation default");
  h.onUpdates([ready(false)]);
  await h.settle();
  assert.match(h.agent.waitingFor, /datastoreReady: false/);
  assert.deepEqual(h.starts, []);
  h.onUpdates([ready(true)]);
  await h.settle();
  assert.deepEqual(h.starts, [{ LogPrefix: "x", HealthPort: 9099 }]);
  assert.deepEqual(h.dataplane.rounds, [["configUpdate", "a", "inSync"]]);
});

async function running(local: Readonly<Record<string, string>> = {}) {
  const h = harness(local);
  h.onUpdates([ready(true)]);
  h.onStatus("in-sync");
  await h.settle();
  h.dataplane.rounds.length = 0;
  return h;
}

test("an update on an idle pipeline is applied in the same turn", async () => {
  const h = await running();
  h.onUpdates([tier("a")]);
  assert.deepEqual(h.dataplane.rounds, [["a"]]);
});

test("updates during an apply gather into the next round", async () => {
  const h = await running();
  const gate = Promise.withResolvers<void>();
  h.dataplane.gate = gate.promise;
  h.onUpdates([tier("a")]);
  h.onUpdates([tier("b")]);
  await h.settle();
  h.onUpdates([tier("c")]);
  assert.deepEqual(h.dataplane.rounds, [["a"]]);
  gate.resolve();
  await h.settle();
  assert.deepEqual(h.dataplane.rounds, [["a"], ["b", "c"]]);
});

test("the kernel's wish for an apply, and the retry of an incomplete one", async () => {
  const h = await running();
  h.dataplane.want();
  await h.settle();
  assert.deepEqual(h.dataplane.rounds, [[]]);
  h.dataplane.results = [{ complete: false, retryAfterMs: 5, errors: [new Error("no")] }];
  h.dataplane.want();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(h.dataplane.rounds, [[], [], []], "tried again once, then complete");
});

test("a parameter that needs a restart ends the agent; live ones are taken", async () => {
  const h = await running();
  h.onUpdates([
    {
      ...ready(true),
      value: { ready: true, clusterGuid: "new", clusterType: "", calicoVersion: "" },
    } as ModelUpdate,
  ]);
  await h.settle();
  assert.deepEqual(h.reconfigured, ["new"]);
  assert.equal(h.ended(), undefined);
  h.onUpdates([felixConfig("default", { LogPrefix: "calico-packet" })]);
  await h.settle();
  assert.equal(h.ended(), undefined, "the same as before in meaning");
  h.onUpdates([felixConfig("default", { LogPrefix: "x", HealthPort: "1" })]);
  await h.settle();
  assert.deepEqual(h.ended(), { reason: "config-changed", names: ["HealthPort", "LogPrefix"] });
  assert.equal(h.dataplane.closed, false, "closing is the caller's, after the logs");
  await h.agent.close();
  assert.equal(h.dataplane.closed, true);
});

test("what the environment says is not changed by the datastore", async () => {
  const h = await running({ LogPrefix: "mine" });
  h.onUpdates([felixConfig("default", { LogPrefix: "x" })]);
  await h.settle();
  assert.equal(h.ended(), undefined);
});

test("selector-scoped configuration: the oldest that selects this node; node.<name> is above it", async () => {
  const h = harness();
  h.onUpdates([
    ready(true),
    {
      key: { kind: "Node", name: "node-a" },
      value: {
        labels: { rack: "1" },
        bgpIpv4: "",
        bgpIpv6: "",
        asNumber: "",
        hostIpv4: "",
        hostIpv6: "",
        ipv4IpipTunnelAddr: "",
        ipv4VxlanTunnelAddr: "",
        ipv6VxlanTunnelAddr: "",
        vxlanTunnelMac: "",
        vxlanTunnelMacV6: "",
      },
    },
    felixConfig("default", { LogPrefix: "global", HealthPort: "1" }),
    felixConfig(
      "young",
      { LogPrefix: "young" },
      { nodeSelector: "all()", creationTimestamp: "2026-02-01T00:00:00Z" },
    ),
    felixConfig("z-old", { LogPrefix: "z-old" }, { nodeSelector: "rack == '1'" }),
    felixConfig("a-old", { LogPrefix: "a-old" }, { nodeSelector: "rack == '1'" }),
    felixConfig("0-other", { LogPrefix: "other" }, { nodeSelector: "rack == '2'" }),
    felixConfig("node.node-a", { HealthPort: "2" }),
    felixConfig("node.node-b", { HealthPort: "3" }),
  ]);
  h.onStatus("in-sync");
  await h.settle();
  assert.deepEqual(h.starts, [{ LogPrefix: "a-old", HealthPort: 2 }]);
});

test("not ready any more ends it; an invalid new configuration does not", async () => {
  const h = await running();
  h.onUpdates([felixConfig("default", { InterfacePrefix: "none" })]);
  await h.settle();
  assert.equal(h.ended(), undefined);
  h.onStatus("resync");
  h.onUpdates([{ key: { kind: "ClusterInformation" }, value: null }]);
  await h.settle();
  assert.equal(h.ended(), undefined, "an absence before in-sync means nothing");
  h.onUpdates([ready(true)]);
  h.onStatus("in-sync");
  await h.settle();
  assert.equal(h.ended(), undefined);
  h.onUpdates([ready(false)]);
  await h.settle();
  assert.deepEqual(h.ended(), { reason: "not-ready" });
});

test("at start an invalid configuration is the end, with the reason", async () => {
  const h = harness();
  h.onUpdates([ready(true), felixConfig("default", { InterfacePrefix: "none" })]);
  h.onStatus("in-sync");
  await h.settle();
  const end = h.ended();
  assert.equal(end?.reason, "failed");
  assert.match(
    String((end as { error: unknown }).error),
    /InterfacePrefix from datastore \(global\) cannot be none/,
  );
});
