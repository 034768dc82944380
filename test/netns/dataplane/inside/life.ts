/** Routes, neighbours, sysctls and status through the life of interfaces, endpoints and the agent. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import {
  ALLOW_PROFILE,
  endpointRemove,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  pod,
  run,
  unplug,
  watched,
  within,
} from "../../../support/workload-host.ts";

export interface LifeResult {
  readonly untouchedBeforeInSync: boolean;
  readonly routes: string;
  readonly routes6: string;
  readonly neighbours: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly forwarding: readonly string[];
  readonly statusWithoutInterface: string | undefined;
  readonly interfaceAfterMs: number;
  readonly repairedMs: number;
  readonly repaired6Ms: number;
  readonly replacedMs: number;
  readonly downStatusMs: number;
  readonly upAgainMs: number;
  readonly renamedMs: number;
  readonly renamedBackMs: number;
  readonly recreatedMs: number;
  readonly restartWrites: number;
  readonly restartMonitor: string;
  readonly staleRemoved: boolean;
  readonly foreignKept: boolean;
  readonly gatewayYields: boolean;
  readonly gatewayReturns: boolean;
  readonly removed: string;
  readonly errors: readonly string[];
}

const LIMIT_MS = 10_000;
const [a, b] = [pod(1), pod(2)];
const routes = (): string => run("ip", "route", "show");
const routes6 = (): string =>
  run("ip", "-6", "route", "show")
    .split("\n")
    .filter((line) => line.startsWith("fd65:"))
    .join("\n");
const routed = ({ ipv4, ipv6, interfaceName }: typeof a): boolean =>
  routes().includes(`${ipv4} dev ${interfaceName} proto 80 scope link metric 1024`) &&
  routes6().includes(`${ipv6} dev ${interfaceName} proto 80 metric 1024`);
const neighbours = (): string => run("ip", "neigh", "show", "nud", "permanent");
const sysctl = (path: string): string => readFileSync(`/proc/sys/net/${path}`, "utf8").trim();

/** The machine may be busy: of several repairs the quickest shows that no timer is in between. */
async function best(what: string, ...damage: readonly string[]): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    run("ip", ...damage);
    times.push(await within(LIMIT_MS, what, () => routed(b)));
  }
  return Math.min(...times);
}

makeHost();
plug(a);
run("ip", "link", "add", "eth9", "type", "veth", "peer", "name", "eth9-peer");
for (const name of ["eth9", "eth9-peer"]) run("ip", "link", "set", name, "up");
run("ip", "route", "add", "198.51.100.0/24", "dev", "eth9", "proto", "static");
let dataplane = openApplied();
await dataplane.send(ALLOW_PROFILE, endpointUpdate(a), endpointUpdate(b));
const untouchedBeforeInSync =
  !routed(a) && run("nft", "list", "tables") === "" && sysctl("ipv4/ip_forward") === "0";
await dataplane.send(IN_SYNC);
const settled = { routes: routes(), routes6: routes6(), neighbours: neighbours() };
const sysctls = Object.fromEntries(
  [
    "ipv4/conf/IF/route_localnet",
    "ipv4/neigh/IF/proxy_delay",
    "ipv4/conf/IF/proxy_arp",
    "ipv4/conf/IF/forwarding",
    "ipv6/conf/IF/proxy_ndp",
    "ipv6/conf/IF/forwarding",
    "ipv6/conf/IF/accept_ra",
  ].map((path) => [path, sysctl(path.replace("IF", a.interfaceName))]),
);
const forwarding = [sysctl("ipv4/ip_forward"), sysctl("ipv6/conf/all/forwarding")];

// The interface comes after its endpoint.
const statusWithoutInterface = dataplane.statuses.get("default/pod2");
plug(b);
const interfaceAfterMs = await within(LIMIT_MS, "routes to b", () => routed(b));
await within(LIMIT_MS, "b is up", () => dataplane.statuses.get("default/pod2") === "up");

// Others take routes away, or put theirs in their place.
const repairedMs = await best("IPv4 route repaired", "route", "del", b.ipv4);
const repaired6Ms = await best("IPv6 route repaired", "-6", "route", "del", b.ipv6);
const other = ["dev", "eth9", "metric", "1024", "scope", "link"];
const replacedMs = await best("replaced route repaired", "route", "replace", b.ipv4, ...other);

// Down and up, renamed and back, deleted and made again.
run("ip", "link", "set", b.interfaceName, "down");
const isDown = (): boolean => dataplane.statuses.get("default/pod2") === "down";
const downStatusMs = await within(LIMIT_MS, "b is down", isDown);
run("ip", "link", "set", b.interfaceName, "up");
const upAgainMs = await within(LIMIT_MS, "routes after up", () => routed(b));
await within(LIMIT_MS, "b is up again", () => !isDown());
run("ip", "link", "set", b.interfaceName, "down");
run("ip", "link", "set", b.interfaceName, "name", "elsewhere");
run("ip", "link", "set", "elsewhere", "up");
const renamedMs = await within(
  LIMIT_MS,
  "no route over the renamed interface",
  () => isDown() && !routes().includes(b.ipv4) && !routes6().includes(b.ipv6),
);
run("ip", "link", "set", "elsewhere", "down");
run("ip", "link", "set", "elsewhere", "name", b.interfaceName);
run("ip", "link", "set", b.interfaceName, "up");
const renamedBackMs = await within(LIMIT_MS, "renamed back", () => routed(b) && !isDown());
unplug(b);
await within(LIMIT_MS, "b is gone", isDown);
plug(b);
const recreatedMs = await within(LIMIT_MS, "made again", () => routed(b) && !isDown());
await within(LIMIT_MS, "neighbours again", () => neighbours().trim().split("\n").length === 4);

// A restart with nothing new.
await dataplane.close();
const beforeRestart = routes();
let restartWrites = -1;
const restartMonitor = await watched("ip", ["monitor", "route", "neigh"], async () => {
  dataplane = openApplied();
  const result = await dataplane.send(ALLOW_PROFILE, endpointUpdate(a), endpointUpdate(b), IN_SYNC);
  restartWrites = result.writes;
});
// A restart that missed a removal; another's route is none of ours.
await dataplane.close();
dataplane = openApplied();
await dataplane.send(ALLOW_PROFILE, endpointUpdate(a), IN_SYNC);
const staleRemoved = !routes().includes(b.ipv4) && !neighbours().includes(b.ipv4) && routed(a);
const foreignKept = routes().includes("198.51.100.0/24 dev eth9 proto static");

// A default route makes the gateway's own route needless; it comes back when the device goes down.
const hasGateway = (): boolean => routes().includes("local 169.254.1.1 dev lo");
run("ip", "route", "add", "default", "dev", "eth9");
await within(LIMIT_MS, "gateway's route goes", () => !hasGateway());
const gatewayYields = beforeRestart.includes("local 169.254.1.1 dev lo");
run("ip", "link", "set", "eth9", "down");
await within(LIMIT_MS, "gateway's route comes back", hasGateway);

await dataplane.send(endpointRemove(a));
await delay(20);
const result: LifeResult = {
  untouchedBeforeInSync,
  ...settled,
  sysctls,
  forwarding,
  statusWithoutInterface,
  interfaceAfterMs,
  repairedMs,
  repaired6Ms,
  replacedMs,
  downStatusMs,
  upAgainMs,
  renamedMs,
  renamedBackMs,
  recreatedMs,
  restartWrites,
  restartMonitor,
  staleRemoved,
  foreignKept,
  gatewayYields,
  gatewayReturns: true,
  removed: `${routes()}${routes6()}${neighbours()}${[...dataplane.statuses.keys()].join()}`,
  errors: dataplane.errors,
};
await dataplane.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
