/** What `show route` of BIRD 2.0.12 prints, as CalicoNodeStatus has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRoutes } from "../../../src/confd/bird-routes.ts";
import { statusOf } from "../../../src/node/bird-status.ts";

const LINES = `Table master4:
10.65.0.0/26         blackhole [static1 11:58:06.524] * (200)
10.68.0.0/24         unreachable [static1 2026-11-20] * (200)
10.66.0.0/26         unicast [Node_10_0_0_9 11:58:06.524] * (100/0) [AS64999i]
\tvia 10.0.0.9 on eth0
\tvia 10.0.0.8 on eth1
                     unicast [Global_10_0_0_7 11:58:06.524 from 10.0.0.77] (100) [i]
\tvia 10.0.0.7 on eth0 onlink
10.0.0.0/24          unicast [direct1 11:58:06.525] * (240)
\tdev eth0
10.1.0.0/24          unicast [kernel1 11:58:06.525] (10)
\tdev cali0`.split("\n");

test("routes by place, source and next hop", () => {
  const peers = new Map([
    ["Node_10_0_0_9", "10.0.0.9"],
    ["Global_10_0_0_7", "10.0.0.7"],
  ]);
  const peer = (peerIP: string) => ({ sourceType: "BGPPeer", peerIP });
  const fib = "FIB";
  const routes = parseRoutes(LINES).map((route) => statusOf(route, peers));
  assert.deepEqual(routes, [
    { type: fib, destination: "10.65.0.0/26", learnedFrom: { sourceType: "Static" } },
    { type: fib, destination: "10.68.0.0/24", learnedFrom: { sourceType: "Static" } },
    {
      type: fib,
      destination: "10.66.0.0/26",
      learnedFrom: peer("10.0.0.9"),
      gateway: "10.0.0.9",
      interface: "eth0",
    },
    {
      type: "RIB",
      destination: "10.66.0.0/26",
      learnedFrom: peer("10.0.0.7"),
      gateway: "10.0.0.7",
      interface: "eth0",
    },
    {
      type: fib,
      destination: "10.0.0.0/24",
      learnedFrom: { sourceType: "Direct" },
      interface: "eth0",
    },
    {
      type: "RIB",
      destination: "10.1.0.0/24",
      learnedFrom: { sourceType: "Kernel" },
      interface: "cali0",
    },
  ]);
});
