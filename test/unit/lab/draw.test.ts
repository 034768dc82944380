import assert from "node:assert/strict";
import { test } from "node:test";
import type { LabStatus } from "../../../src/lab/control.ts";
import { drawStatus } from "../../../src/lab/view.ts";

const wire = (station: string, subnet: string, address: string, up = true) => ({
  name: `${station}/${subnet}`,
  station,
  subnet,
  device: "eth0",
  addresses: [address],
  lossPercent: subnet === "left" && station === "a" ? 0.5 : 0,
  ...(station === "b" ? { rateBytes: 1_250_000 } : {}),
  up,
});
const session = (family: 4 | 6, name: string, established: boolean, info: string) => ({
  family,
  name,
  established,
  info,
  imported: 1,
  exported: 1,
});
const STATUS: LabStatus = {
  name: "two",
  ready: true,
  environment: {},
  uptimeSeconds: 1,
  rounds: 1,
  processes: [
    { machine: "a", process: "felix", pid: 7 },
    { machine: "a", process: "bird", ended: "SIGKILL" },
  ],
  wires: [
    wire("r", "left", "10.1.0.1/24"),
    wire("a", "left", "10.1.0.11/24"),
    wire("r", "right", "10.2.0.1/24"),
    wire("b", "right", "10.2.0.12/24", false),
    wire("etcd-1", "mgmt", "100.64.255.11/24"),
    wire("b", "mgmt", "100.64.255.102/24", false),
  ],
  hosts: [
    {
      name: "a",
      sessions: [
        session(4, "Mesh_10_2_0_12", false, "Active"),
        session(6, "Mesh_6", true, "Established"),
      ],
      routes: [
        { to: "10.65.2.0/26", via: "10.2.0.12", device: "eth0", by: "bird" },
        { to: "10.65.3.0/26", via: "10.65.3.1", device: "vxlan.calico", by: "felix" },
      ],
    },
    { name: "b", sessions: [], routes: [] },
  ],
  peers: [
    { name: "a", addresses: ["10.1.0.11/24"] },
    { name: "web", addresses: ["10.65.1.1"], host: "a", interface: "cali1" },
  ],
  cells: [{ from: "web", to: "a", port: "tcp:80", family: 4, allowed: true }],
};

test("a lab of several hosts: topology, sessions, routes, and the matrix", () => {
  assert.equal(
    drawStatus(STATUS, false),
    `TOPOLOGY
left ─┬─ r  10.1.0.1
      └─ a  10.1.0.11  loss 0.5 %
right ─┬─ r  10.2.0.1
       └─ b  10.2.0.12  10 Mbit/s  CUT
mgmt ── etcd-1, b CUT
a: web 10.65.1.1
bird of a does not run (SIGKILL): lab heal a

SESSIONS Established
a  IPv4 0 of 1   IPv6 1 of 1   Mesh_10_2_0_12 Active
b  IPv4 0 of 0   IPv6 0 of 0

ROUTES to other hosts
a  10.65.2.0/26 via 10.2.0.12 dev eth0 (bird)
   10.65.3.0/26 via 10.65.3.1 dev vxlan.calico (felix)

FROM \\ TO  a
           tcp:80
web        yes`,
  );
});

test("it fits into the rows that there are; the matrix is always whole", () => {
  const whole = drawStatus(STATUS, false).split("\n").length;
  for (let rows = 5; rows < whole; rows++) {
    const lines = drawStatus(STATUS, false, rows).split("\n");
    assert.ok(lines.length <= rows, `${lines.length} lines in ${rows} rows`);
    assert.equal(lines.at(-1), "web        yes");
    assert.ok(lines.includes("… more: margay lab status"), `${rows} rows: nothing is said`);
  }
  assert.equal(drawStatus(STATUS, false, whole).split("\n").length, whole);
});
