/** Three hosts with etcd, BIRD and VXLAN: how soon a new workload is reached from another host, and the cost of being idle. */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import type { ClusterResult } from "./cluster/inside.ts";
import { median, type Figure, type Suite } from "./support/figures.ts";

const INSIDE = fileURLToPath(new URL("./cluster/inside.ts", import.meta.url));
const ROUNDS = 15;

export const suite: Suite = {
  title: "Three hosts: endpoint written -> first packet from another host (medians), and idle",
  run: async () => {
    const result = await runInSandbox<ClusterResult>(INSIDE, { rounds: ROUNDS });
    const reached = (what: string, samples: readonly number[], target: number): Figure => ({
      what: `new workload reached, ${what}`,
      unit: "ms",
      ours: median(samples),
      target,
    });
    return [
      reached("BGP, its block known", result.bgpWarm, 50),
      reached("BGP, its block claimed just before", result.bgpNewBlock, 50),
      reached("VXLAN, its block known", result.vxlan, 10),
      {
        what: "of which the write of the endpoint to three members of etcd",
        unit: "ms",
        ours: median(result.write),
      },
      {
        what: "idle: all processes of three hosts, of one processor",
        unit: "%",
        ours: result.idleHosts,
        target: 5,
      },
      {
        what: "idle: three members of etcd beside them, of one processor",
        unit: "%",
        ours: result.idleEtcd,
      },
    ];
  },
};
