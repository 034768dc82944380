/**
 * Two hosts in two subnets under real agents over one store: how long after a workload was written on
 * one of them a packet from the other reaches it through VXLAN.
 */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import type { Suite } from "./support/figures.ts";
import type { TunnelTimes } from "./tunnels/inside.ts";

const INSIDE = fileURLToPath(new URL("tunnels/inside.ts", import.meta.url));
const ROUNDS = 20;

export const suite: Suite = {
  title: "Tunnels: datastore event to packet on another host (medians)",
  run: async () => {
    const { blockMs, endpointMs } = await runInSandbox<TunnelTimes>(INSIDE, { rounds: ROUNDS });
    return [
      {
        what: "block of a workload written -> first packet from another host",
        unit: "ms",
        ours: blockMs,
        target: 10,
      },
      {
        what: "workload in a known block written -> first packet from another host",
        unit: "ms",
        ours: endpointMs,
        target: 10,
      },
    ];
  },
};
