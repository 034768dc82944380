/**
 * Messages for external dataplanes, beside JSON of the same objects, which the engine writes and
 * reads in native code; and the way through a driver's pipe, beside the writing alone.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ToDataplane } from "#calc";
import { FrameCutter, openExternalDataplane, readToDataplane, StreamWriter } from "#dataplane";
import { drawTable, median, type Figure, type Suite } from "./support/figures.ts";

const RUNS = 7;
const MAX_BYTES = 1 << 30;

const ipSet: readonly ToDataplane[] = [
  {
    case: "ipsetUpdate",
    value: {
      id: "s:bench",
      type: "NET",
      members: Array.from(
        { length: 100_000 },
        (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`,
      ),
    },
  },
];
const routes = Array.from({ length: 100_000 }, (_, i): ToDataplane => ({
  case: "routeUpdate",
  value: {
    types: 1,
    ipPoolType: "VXLAN",
    dst: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`,
    dstNodeName: `node-${i % 1000}`,
    dstNodeIp: "10.0.0.1",
    sameSubnet: false,
    natOutgoing: true,
    localWorkload: false,
    borrowed: false,
  },
}));
const policies = Array.from({ length: 10_000 }, (_, i): ToDataplane => ({
  case: "activePolicyUpdate",
  value: {
    id: { name: `policy-${i}`, namespace: "", kind: "GlobalNetworkPolicy" },
    policy: {
      inboundRules: Array.from({ length: 10 }, (__, rule) => ({
        action: "allow",
        protocol: { name: "tcp" },
        srcIpSetIds: [`s:oztYbxgE35YIbH2uFknN0nq65bF2Rep4zIb${rule}`],
        dstPorts: [{ first: 80, last: 80 }],
        ruleId: `K8Dc4gIfOrZ8DO${rule}`,
      })),
      outboundRules: [],
      untracked: false,
      preDnat: false,
      namespace: "",
      originalSelector: "all()",
      perfHints: [],
      tier: "default",
    },
  },
}));

const WORK: readonly (readonly [string, readonly ToDataplane[]])[] = [
  ["an IP set of 100,000 members", ipSet],
  ["100,000 routes", routes],
  ["10,000 policies of 10 rules", policies],
];

export const suite: Suite = {
  title: "The stream to an external dataplane",
  async run() {
    const figures = WORK.flatMap(([what, messages]) => codecFigures(what, messages));
    return [...figures, await pipeFigure()];
  },
};

function codecFigures(what: string, messages: readonly ToDataplane[]): Figure[] {
  const bytes = written(messages);
  const texts = messages.map((message) => JSON.stringify(message));
  const write = timed(() => void written(messages));
  const stringify = timed(() => {
    for (const message of messages) JSON.stringify(message);
  });
  const read = timed(() => {
    for (const frame of new FrameCutter(MAX_BYTES).push(bytes)) readToDataplane(frame);
  });
  const parse = timed(() => {
    for (const text of texts) JSON.parse(text);
  });
  return [
    { what: `${what}: written`, unit: "ms", ours: write, floor: stringify, floorIs: "JSON" },
    { what: `${what}: read`, unit: "ms", ours: read, floor: parse, floorIs: "JSON" },
  ];
}

/** To a driver that only reads. */
async function pipeFigure(): Promise<Figure> {
  const dir = mkdtempSync(join(tmpdir(), "margay-bench-driver-"));
  const driver = join(dir, "driver");
  writeFileSync(driver, "#!/bin/sh\nexec cat <&3 >/dev/null\n");
  chmodSync(driver, 0o755);
  const dataplane = await openExternalDataplane({
    driver,
    onLost: (error) => {
      throw error;
    },
    ending: new AbortController().signal,
  });
  try {
    const samples: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      const began = performance.now();
      for (const message of routes) dataplane.onMessage(message);
      await dataplane.apply();
      samples.push(performance.now() - began);
    }
    return {
      what: "100,000 routes: through a driver's pipe",
      unit: "ms",
      ours: median(samples),
      floor: timed(() => void written(routes)),
      floorIs: "written",
    };
  } finally {
    await dataplane.close();
    rmSync(dir, { recursive: true });
  }
}

function written(messages: readonly ToDataplane[]): Buffer {
  const writer = new StreamWriter();
  for (const message of messages) writer.add(message);
  return writer.take();
}

function timed(work: () => void): number {
  const samples = Array.from({ length: RUNS }, () => {
    const began = performance.now();
    work();
    return performance.now() - began;
  });
  return median(samples);
}

if (import.meta.main) {
  const figures = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(figures) : drawTable(figures);
  process.stdout.write(`${text}\n`);
}
