/** Many hosts: what is killed, cut, filled up and claimed twice, while packets are counted. */
import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { margay, TestLab, until } from "../support/lab.ts";
import type { TrafficCounts } from "../support/lab-traffic.ts";

const LONG = process.env["MARGAY_TEST_LONG"] !== undefined;
const ECHO = 7;
const LAB = `kind: Lab
name: faults
etcd: 3
subnets: [lan]
routers:
- name: tor
  subnet: lan
  addresses: [10.0.1.1/24, "2001:db8:1::1/64"]
  bgp: {daemon: frr, asNumber: 64900, announces: [203.0.113.0/24, "2001:db8:bad::/48"]}
hosts:
- {name: host-a, addresses: [10.0.1.11/24, "2001:db8:1::11/64"]}
- {name: host-b, addresses: [10.0.1.12/24, "2001:db8:1::12/64"]}
- {name: host-c, addresses: [10.0.1.13/24, "2001:db8:1::13/64"]}
workloads:
- {name: web, host: host-a, labels: {app: web}, listen: ["udp:${ECHO}"]}
- {name: api, host: host-b, labels: {app: api}, listen: ["udp:${ECHO}"]}
- {name: db, host: host-c, labels: {app: db}, listen: ["udp:${ECHO}"]}
resources:
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pods-v4}, spec: {cidr: 10.65.0.0/16}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pods-v6}, spec: {cidr: "fd65::/96"}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor-v4}, spec: {peerIP: 10.0.1.1, asNumber: 64900}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor-v6}, spec: {peerIP: "2001:db8:1::1", asNumber: 64900}}
expect: {default: allow}
`;

let lab: TestLab;

before(async () => {
  lab = new TestLab("faults", LAB);
  await lab.ready();
  await lab.asExpected();
});
after(() => lab.close());

/** Packets in both directions between two hosts while something is done. */
async function during(t: TestContext, what: string, act: () => unknown): Promise<TrafficCounts> {
  const stops = await Promise.all([
    lab.traffic("web", "api", ECHO),
    lab.traffic("db", "web", ECHO),
  ]);
  try {
    await act();
    await delay(1000);
  } finally {
    const counts = await Promise.all(stops.map((stop) => stop()));
    const sum = (pick: (one: TrafficCounts) => number): number =>
      counts.reduce((total, one) => total + pick(one), 0);
    const total: TrafficCounts = {
      sent: sum((one) => one.sent),
      lostEstablished: sum((one) => one.lostEstablished),
      lostNew: sum((one) => one.lostNew),
      longestGapMs: Math.max(...counts.map((one) => one.longestGapMs)),
    };
    t.diagnostic(`${what}: ${JSON.stringify(total)}`);
    lastCounts = total;
  }
  return lastCounts;
}

let lastCounts: TrafficCounts;

async function losesNothing(t: TestContext, what: string, act: () => unknown): Promise<void> {
  const counts = await during(t, what, act);
  assert.ok(counts.sent > 100, `${what}: only ${counts.sent} packets were sent`);
  const { lostEstablished, lostNew } = counts;
  assert.deepEqual({ lostEstablished, lostNew }, { lostEstablished: 0, lostNew: 0 }, what);
}

/** Of a host's process; undefined while it does not run. */
async function pidOf(host: string, name: string): Promise<number | undefined> {
  const processes = (await lab.status())?.processes ?? [];
  return processes.find((one) => one.machine === host && one.process === name)?.pid;
}

test("any process of a host killed: it is back by itself, and nothing is lost", async (t) => {
  const processes = (await lab.status())?.processes ?? [];
  const names = processes.filter((one) => one.machine === "host-a").map((one) => one.process);
  const services = names.filter((name) => name !== "node");
  for (const name of ["felix", "confd", "bird", "bird6"]) assert.ok(services.includes(name), name);
  await losesNothing(t, `each of ${services.join(", ")} of two hosts killed in turn`, async () => {
    for (const name of services)
      await Promise.all(["host-a", "host-b"].map((on) => back(on, name)));
    await lab.asExpected();
  });
});

async function back(host: string, name: string): Promise<void> {
  const before = await pidOf(host, name);
  assert.ok(before !== undefined, `${name} of ${host} does not run`);
  await lab.kill(host, name);
  const took = await until(`${name} of ${host} is back`, async () => {
    const now = await pidOf(host, name);
    return now !== undefined && now !== before;
  });
  assert.ok(took < 5000, `${name} of ${host} was back after ${Math.round(took)} ms`);
}

function hasRecovered(host: string): boolean {
  try {
    return ["bird", "bird6"].every((name) => {
      const text = lab.exec(host, "birdc", "-s", `/run/calico/${name}.ctl`, "show", "status");
      return text.includes("up and running") && !text.includes("recovery in progress");
    });
  } catch {
    // It has not started yet.
    return false;
  }
}

test("margay node restarted on two hosts at once: nothing is lost on flows old and new", async (t) => {
  await losesNothing(t, "margay node killed and started again on two hosts", async () => {
    const hosts = ["host-a", "host-b"];
    await Promise.all(
      hosts.map(async (host) => {
        const felix = await pidOf(host, "felix");
        await lab.kill(host, "node");
        assert.equal(await pidOf(host, "felix"), felix, "felix went with margay node");
        await lab.heal(host);
        await until(`${host} has a new felix`, async () => {
          const now = await pidOf(host, "felix");
          return now !== undefined && now !== felix;
        });
      }),
    );
    // Neither waits for the other's routes (RFC 4724 §4.1).
    for (const host of hosts) await until(`${host} has recovered`, () => hasRecovered(host));
    await lab.asExpected();
  });
});

test("BIRD killed while no peer can be reached for longer than it waits: its routes are bridged", async (t) => {
  const kept = (): string =>
    ["-4", "-6"]
      .map((one) => lab.exec("host-a", "ip", one, "route", "show", "proto", "81"))
      .join("");
  const told = (): string => lab.exec("host-a", "ip", "route", "show", "proto", "bird");
  const counts = await during(t, "no BGP for a while", async () => {
    const rule = (port: string): string => `add rule inet mgy out tcp ${port} 179 drop`;
    const chain = "add chain inet mgy out { type filter hook output priority 0; }";
    lab.exec("host-a", "nft", `add table inet mgy; ${chain}; ${rule("dport")}; ${rule("sport")}`);
    for (const name of ["bird", "bird6"]) await lab.kill("host-a", name);
    await until("its recovery ends without them", () => hasRecovered("host-a"));
    await until("it has taken out what nobody told", () => !told().includes(" via "));
    assert.match(kept(), /^10\.65\.\S+ via 10\.0\.1\.12 dev eth0/m);
    assert.match(kept(), /^fd65:\S+ via 2001:db8:1::12 dev eth0/m);
    lab.exec("host-a", "nft", "delete table inet mgy");
    await lab.asExpected();
    assert.match(told(), /^10\.65\.\S+ via 10\.0\.1\.12 dev eth0/m);
    await until("the copies are gone", () => kept() === "");
  });
  // It is back too late to be waited for: each peer drops its routes and gets them again at once.
  assert.ok(counts.sent > 100 && counts.longestGapMs < 1000, JSON.stringify(counts));
  assert.ok(counts.lostEstablished < 50, JSON.stringify(counts));
});

test("a member of etcd killed, then the leader: nothing is lost, and changes arrive", async (t) => {
  await losesNothing(t, "two etcd members killed in turn", async () => {
    await lab.kill("etcd-2");
    await deniesAndAllows("after a member");
    await lab.heal("etcd-2");
    await until("etcd-2 is back", () => healthy("etcd-2"));
    const leader = leaderOf();
    await lab.kill(leader);
    await deniesAndAllows("after the leader");
    await lab.heal(leader);
  });
});

test("all of etcd gone for a while: traffic goes on, and what comes after arrives", async (t) => {
  await losesNothing(t, "no etcd", async () => {
    for (const member of ["etcd-1", "etcd-2", "etcd-3"]) await lab.kill(member);
    await delay(LONG ? 60_000 : 5000);
    for (const member of ["etcd-1", "etcd-2", "etcd-3"]) await lab.heal(member);
    await until("etcd is back", () => healthy("etcd-1"));
    await deniesAndAllows("after all of etcd");
  });
});

test("a host cut off from etcd goes on as it was, and follows when it is back", async (t) => {
  await losesNothing(t, "host-c cut off from etcd", async () => {
    await lab.order({ op: "cut", name: "host-c/mgmt" });
    denyDb();
    await delay(2000);
    assert.equal(await apiReachesDb(), true, "host-c heard of the policy: the link was not cut");
    await lab.heal("host-c/mgmt");
    await until("the policy takes hold on host-c", async () => !(await apiReachesDb()));
    lab.ctl("delete", "globalnetworkpolicy", "deny-db");
    await until("the policy goes", apiReachesDb);
  });
});

function denyDb(): void {
  lab.apply("GlobalNetworkPolicy", "deny-db", { selector: "app == 'db'", types: ["Ingress"] });
}

async function apiReachesDb(): Promise<boolean> {
  const cells = (await lab.cells()).filter((cell) => cell.from === "api" && cell.to === "db");
  return cells.length > 0 && cells.every((cell) => cell.allowed);
}

/** A policy on a host that no counted packet enters takes hold, and goes. */
async function deniesAndAllows(when: string): Promise<void> {
  await until(`a policy is written ${when}`, () => {
    try {
      denyDb();
      return true;
    } catch {
      // While a leader is being elected.
      return false;
    }
  });
  await until(`a policy takes hold ${when}`, async () => !(await apiReachesDb()));
  lab.ctl("delete", "globalnetworkpolicy", "deny-db");
  await until(`a policy goes ${when}`, apiReachesDb);
}

function etcdctl(member: string, ...args: readonly string[]): string {
  const port = "2379";
  const endpoint = `http://100.64.255.1${member.at(-1) ?? ""}:${port}`;
  return lab.exec("host-a", "etcdctl", "--endpoints", endpoint, ...args);
}

function healthy(member: string): boolean {
  try {
    etcdctl(member, "endpoint", "health");
    return true;
  } catch {
    return false;
  }
}

function leaderOf(): string {
  interface Status {
    readonly header: { readonly member_id: number };
    readonly leader: number;
  }
  const found = ["etcd-1", "etcd-2", "etcd-3"].find((member) => {
    const text = etcdctl(member, "endpoint", "status", "-w", "json");
    const [one] = JSON.parse(text) as { readonly Status: Status }[];
    return one?.Status.header.member_id === one?.Status.leader;
  });
  assert.ok(found !== undefined, "no member leads");
  return found;
}

test("a link cut and healed: lost only meanwhile", async (t) => {
  const cutMs = 2000;
  const { longestGapMs, lostNew } = await during(t, "host-b's link cut", async () => {
    await lab.order({ op: "cut", name: "host-b" });
    await delay(cutMs);
    await lab.heal("host-b");
    await lab.asExpected();
  });
  assert.ok(lostNew > 0, "the link was not cut");
  assert.ok(longestGapMs < cutMs + 2000, `${longestGapMs} ms without an answer`);
});

test("a filter that cannot be: its peer is told nothing, sessions and packets go on", async (t) => {
  const told = (): number => {
    const socket = "/run/margay/frr/tor";
    const command = "show bgp ipv4 unicast json";
    const text = lab.exec("tor", "vtysh", "--vty_socket", socket, "-c", command);
    return Object.keys((JSON.parse(text) as { readonly routes: object }).routes).length;
  };
  assert.equal(told(), 4);
  lab.apply("BGPFilter", "bad", { exportV4: [{ action: "Accept" }] });
  lab.ctl("patch", "bgppeer", "tor-v4", "-p", '{"spec":{"filters":["bad"]}}');
  await losesNothing(t, "a bad BGP filter", async () => {
    // As another version, or a careless hand, may have stored it: `apply` would refuse it.
    const key = "/calico/resources/v3/projectcalico.org/bgpfilters/bad";
    const stored = etcdctl("etcd-1", "get", "--print-value-only", key).trim();
    etcdctl("etcd-1", "put", key, stored.replace('"Accept"', '"Explode"'));
    await until("the router is told nothing", () => told() === 1);
    lab.ctl("patch", "bgppeer", "tor-v4", "-p", '{"spec":{"filters":[]}}');
    await until("the router is told all again", () => told() === 4);
  });
  await lab.asExpected();
});

test("the disk full where BIRD's configuration is: the old one stays, the new one follows", async (t) => {
  const dir = "/run/margay/hosts/host-a/confd/config";
  const script = [
    `cp -a ${dir} /run/margay/kept && mount -t tmpfs -o size=48k tmpfs ${dir}`,
    `cp -a /run/margay/kept/. ${dir}/`,
    `dd if=/dev/zero of=${dir}/filler bs=1k count=100 2>/dev/null; true`,
  ].join(" && ");
  lab.exec("host-a", "sh", "-c", script);
  const sessions = async (): Promise<number> =>
    (await lab.status())?.hosts.find((one) => one.name === "host-a")?.sessions.length ?? 0;
  const before = await sessions();
  await losesNothing(t, "disk full", async () => {
    lab.apply("BGPPeer", "late", { node: "host-a", peerIP: "10.0.1.99", asNumber: 64999 });
    await delay(3000);
    assert.equal(await sessions(), before, "a configuration was written where there is no room");
    lab.exec("host-a", "rm", `${dir}/filler`);
    await until("the new peer is in BIRD", async () => (await sessions()) === before + 1);
    lab.ctl("delete", "bgppeer", "late");
    await until("the peer is gone", async () => (await sessions()) === before);
  });
});

test("two hosts claiming one address: the second is refused by name, and changes nothing", async (t) => {
  const nodes = (): string =>
    lab.ctl("get", "nodes", "-o", "yaml").replaceAll(/resourceVersion.*/g, "");
  const before = nodes();
  await losesNothing(t, "an address claimed twice", () => {
    for (const name of ["host-c", "host-z"]) {
      for (const [variable, address] of [
        ["IP", "10.0.1.12/24"],
        ["IP6", "2001:db8:1::12/64"],
      ] as const) {
        const env = [
          `NODENAME=${name}`,
          `${variable}=${address}`,
          "CALICO_NODENAME_FILE=/dev/null",
        ];
        const command = ["exec", "--lab", lab.name, "host-c", "--", "env", ...env];
        const ran = margay("lab", ...command, "margay", "node", "-startup");
        assert.equal(ran.status, 1, ran.stderr + ran.stdout);
        assert.match(ran.stdout + ran.stderr, /host-b/);
      }
    }
  });
  assert.equal(nodes(), before);
});

test("100 workloads at once: all reachable from another host, nobody else loses a packet", async (t) => {
  let addresses: string[] = [];
  await losesNothing(t, "100 workloads added", async () => {
    const text = lab.lab("add-workloads", "host-c", "100");
    const lines = text.trim().split("\n");
    assert.equal(lines.length, 100);
    addresses = lines.flatMap((line) => line.split(" ").slice(1));
    const took = await until(
      "all 100 answer in both families",
      () => unreached("web", addresses) === "",
    );
    t.diagnostic(`all 100 answer ${Math.round(took)} ms after they were written`);
  });
  assert.equal(new Set(addresses).size, 200, "an address was given twice");
});

/** Of these addresses, those that a ping from the workload does not reach. */
function unreached(from: string, addresses: readonly string[]): string {
  const script = `for ip in ${addresses.join(" ")}; do { ping -c1 -W2 $ip >/dev/null 2>&1 || echo $ip; } & done; wait`;
  return lab.exec(from, "sh", "-c", script).trim();
}

test("a host removed for good: its blocks are free, nobody routes to it, nobody else loses a packet", async (t) => {
  await lab.order({ op: "add-host", name: "host-d", subnet: "lan" });
  const listen = [{ protocol: "udp", port: ECHO }] as const;
  await lab.order({ op: "add-workloads", host: "host-d", count: 2, listen });
  await lab.asExpected();
  const blocks = (): string[] =>
    lab.ctl("ipam", "show", "--show-blocks").match(/(?:10\.65|fd65:)[^ ]*\/(?:26|122)/g) ?? [];
  const before = blocks();
  await losesNothing(t, "a host removed", async () => {
    await lab.order({ op: "remove-host", name: "host-d" });
    await until("the others forget it", async () => {
      const hosts = (await lab.status())?.hosts ?? [];
      const told = hosts.flatMap((one) => [
        ...one.sessions.map((session) => session.name),
        ...one.routes.map((route) => route.via ?? ""),
      ]);
      return (
        hosts.length === 3 && !told.some((text) => /10[._]0[._]1[._]2\b|1::2\b|1__2\b/.test(text))
      );
    });
  });
  assert.equal(blocks().length, before.length - 2, "its blocks are still there");
  assert.match(lab.ctl("ipam", "check"), /found 0 problems/);
  await lab.asExpected();
});
