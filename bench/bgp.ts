/**
 * BIRD's configuration of a node in a mesh of 500, both families: from the objects to the text, beside
 * BIRD's own time to parse one family of it.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bgpModel, birdConfig, BgpState } from "#bgp";
import { encodeStored, resourcePath, validateResource } from "#resource";
import { drawTable, median, type Figure, type Suite } from "./support/figures.ts";

const NODES = 500;
const RUNS = 11;

export const suite: Suite = {
  title: `BGP: a mesh of ${NODES} nodes`,
  run: async () => {
    const objects = Array.from({ length: NODES }, (_, index) => storedNode(index));
    const state = new BgpState("node-0");
    const reading = timed(() => objects.forEach(([path, value]) => state.put(path, value)));
    let text = "";
    const rendering = Array.from({ length: RUNS }, () =>
      timed(() => {
        const model = bgpModel(state);
        text = birdConfig(model, 4);
        birdConfig(model, 6);
      }),
    );
    const [path, value] = objects[7] ?? ["", ""];
    const changing = Array.from({ length: RUNS }, () =>
      timed(() => {
        state.put(path, value);
        birdConfig(bgpModel(state), 4);
      }),
    );
    const floor = median(parsing(text));
    const beside = { floor, floorIs: "bird -p" };
    const figures: Figure[] = [
      { what: "every node read for the first time", unit: "ms", ours: reading },
      { what: "model and both texts", unit: "ms", ours: median(rendering), target: 100, ...beside },
      { what: "one node changed: model and text", unit: "ms", ours: median(changing), ...beside },
    ];
    return figures;
  },
};

function storedNode(index: number): readonly [string, string] {
  const name = `node-${index}`;
  const result = validateResource({
    apiVersion: "projectcalico.org/v3",
    kind: "Node",
    metadata: { name, labels: { rack: `r${index % 20}` } },
    spec: {
      bgp: {
        ipv4Address: `10.0.${index >> 8}.${index & 255}/16`,
        ipv6Address: `fd00::${index + 1}/64`,
      },
    },
  });
  if (!result.ok) throw new Error(JSON.stringify(result.errors));
  return [resourcePath("Node", name), encodeStored(result.value)];
}

function parsing(text: string): number[] {
  const dir = mkdtempSync(join(tmpdir(), "margay-bench-"));
  const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` };
  try {
    writeFileSync(join(dir, "bird.cfg"), text);
    return Array.from({ length: RUNS }, () =>
      timed(() => {
        const { status } = spawnSync("bird", ["-p", "-c", join(dir, "bird.cfg")], { env });
        if (status !== 0) throw new Error("bird -p rejects the text");
      }),
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function timed(work: () => void): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}

if (import.meta.main) {
  process.stdout.write(`${drawTable(await suite.run())}\n`);
}
