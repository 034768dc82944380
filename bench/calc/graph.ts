/**
 * One cluster through the calculation graph, or through a map that keeps the same objects by their
 * keys and computes nothing: what any agent has to spend. Prints the time and the memory as JSON.
 */
import { writeSync } from "node:fs";
import { CalcGraph } from "#calc";
import {
  ANY_ENTITY,
  modelKeyText,
  type ModelPolicy,
  type ModelUpdate,
  type ModelWorkloadEndpoint,
} from "#model";

export type Shape =
  | {
      readonly kind: "tags";
      readonly policies: number;
      readonly endpoints: number;
      readonly local: number;
    }
  | { readonly kind: "namespaces"; readonly namespaces: number; readonly local: number };

export interface GraphResult {
  /** From the first update to the last message. */
  readonly seconds: number;
  /** Heap kept by the graph and its input, after a collection. */
  readonly megabytes: number;
}

const HOST = "host-0";
const HOSTS = 500;
/** Updates of one call, as the syncer gives them. */
const CHUNK = 1000;
/** Tags by which the rules of the tag policies choose their sources. */
const TEAMS = 1000;

/** Each policy selects the endpoints with its tag, and lets one team in. */
function* tagCluster(shape: Extract<Shape, { kind: "tags" }>): Generator<ModelUpdate> {
  yield tier();
  for (let i = 0; i < shape.policies; i++) {
    yield policy("", `p${i}`, `has(tag-${i})`, `team == 't${i % TEAMS}'`);
  }
  for (let i = 0; i < shape.endpoints; i++) {
    const labels = { [`tag-${i % shape.policies}`]: "", team: `t${i % TEAMS}` };
    yield endpoint(i, i < shape.local, "default", labels, "kns.default");
  }
}

/** Each namespace has one endpoint and one policy, which lets in its own namespace alone. */
function* namespaceCluster(shape: Extract<Shape, { kind: "namespaces" }>): Generator<ModelUpdate> {
  yield tier();
  for (let i = 0; i < shape.namespaces; i++) {
    const name = `ns-${i}`;
    const own = `projectcalico.org/namespace == '${name}'`;
    yield { key: { kind: "ProfileLabels", name: `kns.${name}` }, value: { "pcns.name": name } };
    yield policy(name, "isolate", own, own);
    const labels = { "projectcalico.org/namespace": name, app: `a${i % 10}` };
    yield endpoint(i, i < shape.local, name, labels, `kns.${name}`);
  }
}

function tier(): ModelUpdate {
  return { key: { kind: "Tier", name: "default" }, value: { defaultAction: "Deny" } };
}

function policy(namespace: string, name: string, selector: string, from: string): ModelUpdate {
  const source = { ...ANY_ENTITY, selector: from, originalSelector: from };
  const value: ModelPolicy = {
    tier: "default",
    order: 100,
    selector,
    originalSelector: selector,
    inboundRules: [{ action: "allow", source, destination: ANY_ENTITY }],
    outboundRules: [],
    types: ["ingress"],
    namespace,
    doNotTrack: false,
    preDnat: false,
    applyOnForward: false,
    staged: false,
    performanceHints: [],
  };
  const policyKind = namespace === "" ? "GlobalNetworkPolicy" : "NetworkPolicy";
  return { key: { kind: "Policy", policyKind, namespace, name }, value };
}

function endpoint(
  index: number,
  local: boolean,
  namespace: string,
  labels: ModelWorkloadEndpoint["labels"],
  profile: string,
): ModelUpdate {
  const octets = [10, (index >> 16) & 255, (index >> 8) & 255, index & 255];
  return {
    key: {
      kind: "WorkloadEndpoint",
      hostname: local ? HOST : `host-${1 + (index % HOSTS)}`,
      orchestratorId: "k8s",
      workloadId: `${namespace}/pod-${index}`,
      endpointId: "eth0",
    },
    value: {
      state: "active",
      name: `cali${index}`,
      mac: "",
      profileIds: [profile],
      ipv4Nets: [`${octets.join(".")}/32`],
      ipv6Nets: [],
      ipv4Nat: [],
      ipv6Nat: [],
      labels,
      ports: [],
      allowSpoofedSourcePrefixes: [],
      annotations: {},
    },
  };
}

interface Subject {
  onUpdates(updates: readonly ModelUpdate[]): void;
  /** Returns how much there was to say. */
  finish(): number;
}

function graphSubject(): Subject {
  const graph = new CalcGraph({ hostname: HOST });
  return {
    onUpdates: (updates) => graph.onUpdates(updates),
    finish: () => {
      let messages = 0;
      graph.onStatus("in-sync");
      graph.flush(() => messages++);
      return messages;
    },
  };
}

function mapSubject(): Subject {
  const byKey = new Map<string, ModelUpdate["value"]>();
  return {
    onUpdates: (updates) => {
      for (const { key, value } of updates) byKey.set(modelKeyText(key), value);
    },
    finish: () => byKey.size,
  };
}

/** The time to make the updates is not counted. */
function run(updates: Generator<ModelUpdate>, makeSubject: () => Subject): GraphResult {
  const before = heapMegabytes();
  const subject = makeSubject();
  let milliseconds = 0;
  const timed = (body: () => void): void => {
    const start = performance.now();
    body();
    milliseconds += performance.now() - start;
  };
  let chunk: ModelUpdate[] = [];
  const pass = (): void => {
    timed(() => subject.onUpdates(chunk));
    chunk = [];
  };
  for (const update of updates) {
    chunk.push(update);
    if (chunk.length === CHUNK) pass();
  }
  pass();
  let said = 0;
  timed(() => (said = subject.finish()));
  const megabytes = heapMegabytes() - before;
  // Alive until here.
  if (said === 0 || subject.finish() < 0) throw new Error("nothing came out");
  return { seconds: milliseconds / 1000, megabytes };
}

function heapMegabytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1e6;
}

if (import.meta.main) {
  const shape = JSON.parse(process.argv[2] ?? "") as Shape;
  const updates = shape.kind === "tags" ? tagCluster(shape) : namespaceCluster(shape);
  const result = run(updates, process.argv[3] === "map" ? mapSubject : graphSubject);
  writeSync(1, JSON.stringify(result));
}
