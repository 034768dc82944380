/** What `make run` starts, and the walk of the README, step by step. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Cell } from "../../src/lab/matrix.ts";
import { margay, TestLab, until } from "../support/lab.ts";

const WORKLOADS = ["web", "api", "db", "client"];
const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

let lab: TestLab;

before(async () => {
  lab = TestLab.example("three", "three-hosts.yaml");
  await lab.ready();
});
after(() => lab.close());

/** Until every cell that `which` picks says this. */
async function all(what: string, which: (cell: Cell) => boolean, allowed: boolean): Promise<void> {
  await until(what, async () => {
    const cells = (await lab.cells()).filter(which);
    return cells.length > 0 && cells.every((cell) => cell.allowed === allowed);
  });
}

const to = (name: string) => (cell: Cell) => cell.to === name;
const between = (from: string, peer: string) => (cell: Cell) =>
  cell.from === from && cell.to === peer;
const amongWorkloads = (cell: Cell): boolean =>
  WORKLOADS.includes(cell.from) && WORKLOADS.includes(cell.to);

function step(file: string): void {
  asInReadme("ctl", "apply", "-f", `examples/walkthrough/${file}`);
}

function asInReadme(command: string, ...args: readonly string[]): string {
  const line = ["bin/margay lab", command, ...args].join(" ");
  assert.ok(README.includes(line), `the README does not say ${line}`);
  return lab.lab(command, ...args);
}

test("three hosts in two subnets: all reach each other in both families, sessions Established", async () => {
  await lab.asExpected();
  const cells = await lab.cells();
  for (const family of [4, 6]) assert.ok(cells.some((cell) => cell.family === family));
  const { hosts = [] } = (await lab.status()) ?? {};
  assert.deepEqual(
    hosts.map((host) => [host.name, host.sessions.length]),
    [
      ["host-a", 4],
      ["host-b", 4],
      ["host-c", 4],
    ],
  );
  const devices = (name: string): string[] => [
    ...new Set(hosts.find((host) => host.name === name)?.routes.map((route) => route.device)),
  ];
  assert.deepEqual(devices("host-a").toSorted(), ["eth0", "vxlan-v6.calico", "vxlan.calico"]);
  assert.deepEqual(devices("host-c").toSorted(), ["vxlan-v6.calico", "vxlan.calico"]);
  const text = margay("lab", "status", lab.name).stdout;
  for (const part of [
    /rack-1 ─┬─ spine/,
    /host-c +IPv4 2 of 2 +IPv6 2 of 2/,
    /via .* dev vxlan\.calico \(felix\)/,
  ])
    assert.match(text, part);
});

test("policies hold within a host, within a rack and across", async () => {
  step("1-deny-db.yaml");
  await all("db is closed", (cell) => to("db")(cell) && cell.from !== "host-c", false);
  step("2-allow-by-label.yaml");
  await all("api reaches db across the racks", between("api", "db"), true);
  await all("client does not on the same host", between("client", "db"), false);
});

test("a peer added: the router's prefixes are reached, until a policy forbids it", async () => {
  step("5-add-peer.yaml");
  await all("everybody reaches what the router announces", to("spine"), true);
  step("3-deny-cidr.yaml");
  await all(
    "no workload does",
    (cell) => to("spine")(cell) && WORKLOADS.includes(cell.from),
    false,
  );
  await all("hosts do", between("host-a", "spine"), true);
  step("4-ipv6-only.yaml");
  await all("web answers IPv6", (cell) => between("api", "web")(cell) && cell.family === 6, true);
  await all("and only that", (cell) => between("api", "web")(cell) && cell.family === 4, false);
  for (const name of ["web-ipv6", "db"]) lab.ctl("delete", "networkpolicy", "-n", "shop", name);
  lab.ctl("delete", "globalnetworkpolicy", "no-forbidden-nets");
  await all("all is open again", amongWorkloads, true);
});

test("a link cut, a host killed, daemons killed, a member of etcd killed, and each healed", async (t) => {
  const ofHostC = (cell: Cell): boolean =>
    amongWorkloads(cell) &&
    ["db", "client"].includes(cell.from) !== ["db", "client"].includes(cell.to);
  asInReadme("cut", "host-c");
  await all("the other rack is cut off", ofHostC, false);
  await all("inside a host all goes on", between("client", "db"), true);
  lab.lab("heal", "host-c");
  await all("it is back", amongWorkloads, true);

  const birdOf = async (): Promise<number | undefined> =>
    (await lab.status())?.processes.find(
      (one) => one.machine === "host-a" && one.process === "bird",
    )?.pid;
  const before = await birdOf();
  const acrossRacks = await lab.traffic("client", "api", 5353);
  await lab.kill("host-b", "felix");
  await lab.kill("host-c", "felix");
  asInReadme("kill", "host-a", "bird");
  asInReadme("kill", "etcd-1");
  await until("BIRD is back by itself", async () => {
    const now = await birdOf();
    return now !== undefined && now !== before;
  });
  await until("its sessions are, too", async () => {
    const host = (await lab.status())?.hosts.find((one) => one.name === "host-a");
    return host?.sessions.length === 6 && host.sessions.every((one) => one.established);
  });
  await all("nobody misses anything", amongWorkloads, true);
  const { sent, lostEstablished, lostNew } = await acrossRacks();
  t.diagnostic(`across the racks, agents of both ends killed: ${sent} sent`);
  assert.ok(sent > 100);
  assert.deepEqual({ lostEstablished, lostNew }, { lostEstablished: 0, lostNew: 0 });
  lab.lab("heal", "etcd-1");

  asInReadme("kill", "host-b");
  await all("api is gone", (cell) => amongWorkloads(cell) && to("api")(cell), false);
  lab.lab("heal", "host-b");
  await all("it is back", amongWorkloads, true);
});

test("a host added is part of it, and removed leaves nothing", async () => {
  asInReadme("add-host", "host-d", "rack-2");
  lab.lab("add-workloads", "host-d", "1", "--listen", "tcp:80");
  await all("its workload is reached from everywhere", to("host-d-w1"), true);
  await until("it has sessions with all hosts and the router", async () => {
    const host = (await lab.status())?.hosts.find((one) => one.name === "host-d");
    return host?.sessions.length === 8 && host.sessions.every((one) => one.established);
  });
  lab.lab("remove-host", "host-d");
  assert.match(lab.ctl("ipam", "check"), /found 0 problems/);
  assert.doesNotMatch(lab.ctl("get", "nodes"), /host-d/);
  assert.doesNotMatch(lab.ctl("get", "wep", "-A"), /host-d/);
  // It would keep the routes of a host that went without a word for two minutes.
  const shown = ["ipv4", "ipv6"].map((family) => `-c "show bgp ${family} unicast"`).join(" ");
  const told = lab.exec("spine", "sh", "-c", `vtysh --vty_socket /run/margay/frr/spine ${shown}`);
  assert.match(told, /10\.0\.2\.13/);
  assert.doesNotMatch(told, /10\.0\.2\.2\b|2001:db8:2::2\b/, "the router has routes by it");
  await all("the router reaches all", (cell) => cell.from === "spine", true);
});
