/** The measurements of `bench/routes.ts`, inside their namespace; prints figures as JSON. */
import { execFileSync } from "node:child_process";
import { RouteTypes, type IpPoolType, type RouteUpdate } from "#calc";
import { addToIp, formatCidr, formatIp, parseCidr, type Cidr } from "#ip";
import {
  NETLINK_ROUTE,
  NetlinkSocket,
  NetlinkWriter,
  openRouteKernel,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  type Link,
  type Route,
} from "#netlink";
import { defaultLinuxDataplaneConfig as config } from "../../src/dataplane/linux/config.ts";
import { RouteDriver } from "../../src/dataplane/linux/route-driver.ts";
import { ClusterRoutes } from "../../src/dataplane/linux/tunnels/cluster-routes.ts";
import { writeChange, writeRouteDump } from "../../src/netlink/route/codec.ts";
import { median, type Figure } from "../support/figures.ts";

const ROUTES = 65_536;
const ROUNDS = 5;
const RESYNCS = 9;
/** As the driver's. */
const MESSAGES_PER_SEND = 200;
const SINGLES = 500;
const DEVICE = "cali-bench";

function milliseconds(body: () => void): number {
  const start = performance.now();
  body();
  return performance.now() - start;
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

function ipBatch(lines: readonly string[]): number {
  const input = lines.join("\n");
  return milliseconds(() => execFileSync("ip", ["-batch", "-"], { input }));
}

const addresses: readonly Cidr[] = Array.from({ length: ROUTES }, (_, n) =>
  parseCidr(`10.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`),
);

ip("link", "add", DEVICE, "type", "veth", "peer", "name", "peer");
ip("link", "set", DEVICE, "up");
// Without any address of its own a host may have no gateway.
ip("link", "set", "lo", "up");
const kernel = openRouteKernel();
const links = new Map<number, Link>(kernel.links().map((link) => [link.index, link]));
const index = [...links.values()].find(({ name }) => name === DEVICE)?.index ?? 0;

function newDriver(): RouteDriver {
  return new RouteDriver({
    kernel,
    config,
    linkByIndex: (each) => links.get(each),
    nowMs: () => performance.now(),
    onStale: () => {},
    onProblem: () => {},
  });
}

function applied(driver: RouteDriver, writes: number): void {
  const result = driver.apply();
  if (result.errors.length > 0 || result.writes !== writes) {
    throw new Error(`${result.writes} writes instead of ${writes}: ${String(result.errors[0])}`);
  }
}

/** The same messages, encoded before the clock starts. */
function bareKernel(kind: "replaceRoute" | "deleteRoute"): number {
  const socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, strict: true });
  const writer = new NetlinkWriter();
  const sends: Uint8Array[] = [];
  for (let start = 0; start < ROUTES; start += MESSAGES_PER_SEND) {
    writer.reset();
    for (const dst of addresses.slice(start, start + MESSAGES_PER_SEND)) {
      writeChange(writer, { kind, route: workloadRoute(dst) });
    }
    sends.push(Uint8Array.from(writer.bytes()));
  }
  const ms = milliseconds(() => {
    for (const bytes of sends) {
      if (socket.transact(bytes).refusals.length > 0) throw new Error("the kernel refused a route");
    }
  });
  socket.close();
  return ms;
}

/** As the driver's. */
function workloadRoute(dst: Cidr): Route {
  return {
    dst,
    table: RT_TABLE_MAIN,
    protocol: config.routeProtocol,
    type: RTN_UNICAST,
    scope: RT_SCOPE_LINK,
    tos: 0,
    priority: config.ipv4RoutePriority,
    oif: index,
  };
}

/** All of them to one interface, or away. */
function setAll(driver: RouteDriver, ifindex: number | undefined): void {
  for (const address of addresses) driver.setWorkload(address, ifindex);
}

const rounds = Array.from({ length: ROUNDS }, () => {
  const bareAdd = bareKernel("replaceRoute");
  const bareRemove = bareKernel("deleteRoute");
  const fresh = newDriver();
  const add = milliseconds(() => {
    setAll(fresh, index);
    applied(fresh, ROUTES);
  });
  const remove = milliseconds(() => {
    setAll(fresh, undefined);
    applied(fresh, ROUTES);
  });
  return { bareAdd, bareRemove, add, remove };
});
const ofRounds = (which: keyof (typeof rounds)[number]): number =>
  median(rounds.map((round) => round[which]));

const driver = newDriver();
setAll(driver, index);
applied(driver, ROUTES);
const resync = median(
  Array.from({ length: RESYNCS }, () =>
    milliseconds(() => {
      driver.resync(() => {});
      applied(driver, 0);
    }),
  ),
);
const restarted = newDriver();
const restart = milliseconds(() => {
  restarted.resync(() => {});
  setAll(restarted, index);
  applied(restarted, 0);
});

/** All routes, received and not decoded. */
function bareDump(): number {
  const socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, strict: true });
  const rounds = Array.from({ length: RESYNCS }, () =>
    milliseconds(() => {
      const writer = new NetlinkWriter();
      writeRouteDump(writer, 4, RT_TABLE_MAIN);
      const parts = socket.dump(writer.bytes(), "read routes", () => true);
      if (parts.length < ROUTES) throw new Error("routes are missing");
    }),
  );
  socket.close();
  return median(rounds);
}
const dump = bareDump();

const single = parseCidr("10.99.0.1/32");
const singles: number[] = [];
for (let round = 0; round < SINGLES; round++) {
  singles.push(
    milliseconds(() => {
      driver.setWorkload(single, index);
      applied(driver, 1);
    }),
  );
  driver.setWorkload(single, undefined);
  applied(driver, 1);
}

/** The blocks of other nodes, through a tunnel: from the graph's messages to the kernel, and away. */
function measureBlocks(): Readonly<
  Record<"add" | "resync" | "dump" | "remove" | "batchAdd" | "batchRemove", number>
> {
  const updates = Array.from({ length: ROUTES }, (_, n): RouteUpdate => ({
    types: RouteTypes.REMOTE_WORKLOAD,
    ipPoolType: "VXLAN",
    dst: `11.${n >> 10}.${(n >> 2) & 255}.${(n & 3) << 6}/26`,
    dstNodeName: `node${n & 1023}`,
    dstNodeIp: "10.0.0.1",
    sameSubnet: false,
    natOutgoing: false,
    localWorkload: false,
    borrowed: false,
  }));
  const ends = new Map(updates.map(({ dst, dstNodeName }) => [dstNodeName, parseCidr(dst)]));
  const blocks = newDriver();
  const cluster = new ClusterRoutes({
    config,
    set: (routeClass, dst, route) => blocks.set(routeClass, dst, route),
    tunnelOf: (node) => {
      const first = ends.get(node);
      return first && addToIp(first, 1);
    },
  });
  const device = { index, mtu: 1450 };
  const programs = new Set<IpPoolType>(["VXLAN"]);
  cluster.setCarriers(4, {
    parent: undefined,
    subnet: undefined,
    vxlan: device,
    ipip: undefined,
    programs,
  });
  const add = milliseconds(() => {
    for (const update of updates) cluster.update(update);
    cluster.settle();
    applied(blocks, ROUTES);
  });
  const resync = median(
    Array.from({ length: RESYNCS }, () =>
      milliseconds(() => {
        blocks.resync(() => {});
        applied(blocks, 0);
      }),
    ),
  );
  const dump = bareDump();
  const remove = milliseconds(() => {
    for (const { dst } of updates) cluster.remove(dst);
    applied(blocks, ROUTES);
  });
  const lines = (verb: string): string[] =>
    updates.map(({ dst, dstNodeName }) => {
      const gateway = addToIp(ends.get(dstNodeName) ?? parseCidr(dst), 1);
      const via = gateway === undefined ? "" : `via ${formatIp(gateway)} onlink mtu 1450`;
      return `route ${verb} ${dst} ${via} dev ${DEVICE} proto 80 metric 1024`;
    });
  const batchAdd = ipBatch(lines("replace"));
  const batchRemove = ipBatch(lines("del"));
  return { add, resync, dump, remove, batchAdd, batchRemove };
}

setAll(driver, undefined);
applied(driver, ROUTES);
const line = (verb: string) => (address: Cidr) =>
  `route ${verb} ${formatCidr(address)} dev ${DEVICE} scope link proto 80 metric 1024`;
const batchAdd = ipBatch(addresses.map(line("replace")));
const batchRemove = ipBatch(addresses.map(line("del")));
const blocks = measureBlocks();
kernel.close();

const perRoute = (ms: number): number => (ms * 1000) / ROUTES;
const figures: readonly Figure[] = [
  {
    what: `add ${ROUTES} routes`,
    unit: "ms",
    ours: ofRounds("add"),
    floor: ofRounds("bareAdd"),
    floorIs: "bare kernel, same messages",
    target: 300,
  },
  {
    what: `add ${ROUTES} routes, per route`,
    unit: "us",
    ours: perRoute(ofRounds("add")),
    floor: perRoute(batchAdd),
    floorIs: "ip -batch",
  },
  {
    what: `delete ${ROUTES} routes`,
    unit: "ms",
    ours: ofRounds("remove"),
    floor: ofRounds("bareRemove"),
    floorIs: "bare kernel, same messages",
  },
  {
    what: `delete ${ROUTES} routes, per route`,
    unit: "us",
    ours: perRoute(ofRounds("remove")),
    floor: perRoute(batchRemove),
    floorIs: "ip -batch",
  },
  {
    what: `resync of ${ROUTES} routes, nothing to do`,
    unit: "ms",
    ours: resync,
    floor: dump,
    floorIs: "kernel dump, received but not decoded",
    target: 60,
  },
  { what: `restart with ${ROUTES} routes, nothing to do`, unit: "ms", ours: restart },
  {
    what: `${ROUTES} blocks of other nodes, messages to kernel`,
    unit: "ms",
    ours: blocks.add,
    floor: blocks.batchAdd,
    floorIs: "ip -batch",
  },
  {
    what: `resync of them, nothing to do`,
    unit: "ms",
    ours: blocks.resync,
    floor: blocks.dump,
    floorIs: "kernel dump, received but not decoded",
    target: 60,
  },
  {
    what: `and away`,
    unit: "ms",
    ours: blocks.remove,
    floor: blocks.batchRemove,
    floorIs: "ip -batch",
  },
  { what: "add one route among them", unit: "us", ours: median(singles) * 1000 },
];
process.stdout.write(JSON.stringify(figures));
