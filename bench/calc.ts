/**
 * The calculation core, without any I/O: one endpoint's change against many selectors, and whole
 * clusters read at start. Beside, in the same run: the same change against ten selectors tried one by
 * one, and a map that keeps the same objects and computes nothing. What Felix of Calico's v3.33 line
 * takes for inputs of the same shape on the same kind of machine was measured once and is named.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseSelector } from "#selector";
import { LabelIndex } from "../src/calc/label-index.ts";
import { drawTable, median, type Figure, type Suite } from "./support/figures.ts";
import type { GraphResult, Shape } from "./calc/graph.ts";

const GRAPH = fileURLToPath(new URL("calc/graph.ts", import.meta.url));
const UPDATES = 1000;
const ROUNDS = 9;
const WARM_UPS = 3;
const POD_LABELS = {
  zone: "z1",
  tier: "web",
  "projectcalico.org/namespace": "n",
  "projectcalico.org/orchestrator": "k8s",
  "projectcalico.org/serviceaccount": "default",
};

/** Selectors → Felix's microseconds for one endpoint's update. */
const FELIX_UPDATE_US: readonly (readonly [selectors: number, us: number])[] = [
  [10, 10],
  [100, 26],
  [1000, 249],
  [10_000, 10_000],
];

const UPDATE_TARGET_US = 3;
/** Of each cluster, in turn with the map; the median counts. */
const CLUSTER_ROUNDS = 3;

interface Cluster {
  readonly shape: Shape;
  readonly what: string;
  readonly felix: GraphResult;
  readonly target: GraphResult;
}

const CLUSTERS: readonly Cluster[] = [
  {
    shape: { kind: "tags", policies: 10_000, endpoints: 250_000, local: 200 },
    what: "250,000 endpoints, 10,000 policies, 200 local",
    felix: { seconds: 9.85, megabytes: 283 },
    target: { seconds: 1, megabytes: 250 },
  },
  {
    shape: { kind: "namespaces", namespaces: 100_000, local: 100 },
    what: "100,000 isolated namespaces, 100 local endpoints",
    felix: { seconds: 13.9, megabytes: 315 },
    target: { seconds: 1.5, megabytes: 300 },
  },
];

export const suite: Suite = {
  title: "Calculation core (Felix v3.33 as recorded)",
  async run(): Promise<readonly Figure[]> {
    const tried = tryEachUs(10);
    const figures: Figure[] = FELIX_UPDATE_US.map(([selectors, us]) => ({
      what: `label index: one endpoint's label changes, ${selectors} selectors (Felix ${us})`,
      unit: "us",
      ours: endpointUpdateUs(selectors),
      floor: tried,
      floorIs: "10 tried one by one",
      target: UPDATE_TARGET_US,
    }));
    figures.push({
      what: "label index: the same, all 10000 selectors of the endpoint's namespace",
      unit: "us",
      ours: endpointUpdateUs(10_000, "(projectcalico.org/namespace == 'n') && "),
      floor: endpointUpdateUs(10, "(projectcalico.org/namespace == 'n') && "),
      floorIs: "10 selectors",
      target: UPDATE_TARGET_US,
    });
    return [...figures, ...CLUSTERS.flatMap(clusterFigures)];
  },
};

function clusterFigures({ shape, what, felix, target }: Cluster): Figure[] {
  const ours: GraphResult[] = [];
  const floors: GraphResult[] = [];
  for (let round = 0; round < CLUSTER_ROUNDS; round++) {
    ours.push(readCluster(shape, "graph"));
    floors.push(readCluster(shape, "map"));
  }
  const figure = (name: string, unit: string, of: (result: GraphResult) => number): Figure => ({
    what: `${name}: ${what} (Felix ${of(felix)})`,
    unit,
    ours: median(ours.map(of)),
    floor: median(floors.map(of)),
    floorIs: "a map",
    target: of(target),
  });
  return [
    figure("start", "s", ({ seconds }) => seconds),
    figure("memory", "MB", ({ megabytes }) => megabytes),
  ];
}

/** The same change as below where nothing is indexed: every selector is evaluated. */
function tryEachUs(count: number): number {
  const selectors = Array.from({ length: count }, (_, i) => parseSelector(`app == 'a${i}'`));
  let matched = 0;
  const samples: number[] = [];
  for (let round = -WARM_UPS; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < UPDATES; i++) {
      const labels: Record<string, string> = { ...POD_LABELS, app: `a${(i * 7919) % count}` };
      for (const selector of selectors) if (selector.matches(labels)) matched++;
    }
    if (round >= 0) samples.push(((performance.now() - start) * 1000) / UPDATES);
  }
  if (matched !== UPDATES * (ROUNDS + WARM_UPS)) throw new Error("not one selector each matched");
  return median(samples);
}

/**
 * Each selector names one value of a label; the endpoint goes from one value to another. It has the
 * labels of a pod, and inherits those of a namespace. `scope` begins each selector.
 */
function endpointUpdateUs(selectors: number, scope = ""): number {
  let matches = 0;
  const index = new LabelIndex<number, string>({
    onMatchStarted: () => matches++,
    onMatchStopped: () => matches--,
  });
  for (let i = 0; i < selectors; i++) index.setSelector(i, parseSelector(`${scope}app == 'a${i}'`));
  index.setParent("kns.n", { "pcns.team": "x", "pcns.projectcalico.org/name": "n" });
  const samples: number[] = [];
  for (let round = -WARM_UPS; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < UPDATES; i++) {
      const app = `a${(i * 7919 + round + WARM_UPS) % selectors}`;
      index.setItem("endpoint", { ...POD_LABELS, app }, ["kns.n", "ksa.n.default"], undefined);
    }
    if (round >= 0) samples.push(((performance.now() - start) * 1000) / UPDATES);
    if (matches !== 1) throw new Error(`${matches} selectors match in place of one`);
  }
  return median(samples);
}

/** In a process of its own, whose memory is the cluster's. */
function readCluster(shape: Shape, through: "graph" | "map"): GraphResult {
  const argv = ["--expose-gc", GRAPH, JSON.stringify(shape), through];
  const text = execFileSync(process.execPath, argv, { encoding: "utf8" });
  return JSON.parse(text) as GraphResult;
}

if (import.meta.main) process.stdout.write(`${drawTable(await suite.run())}\n`);
