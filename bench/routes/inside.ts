/** The measurements of `bench/routes.ts`, inside their namespace; prints figures as JSON. */
import { execFileSync } from "node:child_process";
import { formatCidr, parseCidr, type Cidr } from "#ip";
import { NETLINK_ROUTE, NetlinkSocket, NetlinkWriter, openRouteKernel, type Link } from "#netlink";
import { defaultLinuxDataplaneConfig } from "../../src/dataplane/linux/config.ts";
import { RouteDriver } from "../../src/dataplane/linux/route-driver.ts";
import { writeRouteDump } from "../../src/netlink/route/codec.ts";
import { median, type Figure } from "../support/figures.ts";

const ROUTES = 65_536;
const RESYNCS = 9;
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
const kernel = openRouteKernel();
const links = new Map<number, Link>(kernel.links().map((link) => [link.index, link]));
const index = [...links.values()].find(({ name }) => name === DEVICE)?.index ?? 0;

function newDriver(): RouteDriver {
  return new RouteDriver({
    kernel,
    config: defaultLinuxDataplaneConfig,
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

const driver = newDriver();
const add = milliseconds(() => {
  for (const address of addresses) driver.setWorkload(address, index);
  applied(driver, ROUTES);
});
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
  for (const address of addresses) restarted.setWorkload(address, index);
  applied(restarted, 0);
});

const socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, strict: true });
const bareDump = median(
  Array.from({ length: RESYNCS }, () =>
    milliseconds(() => {
      const writer = new NetlinkWriter();
      writeRouteDump(writer, 4, 254);
      const parts = socket.dump(writer.bytes(), "read routes", () => true);
      if (parts.length < ROUTES) throw new Error("routes are missing");
    }),
  ),
);
socket.close();

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

const remove = milliseconds(() => {
  for (const address of addresses) driver.setWorkload(address, undefined);
  applied(driver, ROUTES);
});
const line = (verb: string) => (address: Cidr) =>
  `route ${verb} ${formatCidr(address)} dev ${DEVICE} scope link proto 80 metric 1024`;
const batchAdd = ipBatch(addresses.map(line("replace")));
const batchRemove = ipBatch(addresses.map(line("del")));
kernel.close();

const perRoute = (ms: number): number => (ms * 1000) / ROUTES;
const figures: readonly Figure[] = [
  {
    what: `add ${ROUTES} routes, per route`,
    unit: "us",
    ours: perRoute(add),
    floor: perRoute(batchAdd),
    floorIs: "ip -batch",
  },
  {
    what: `delete ${ROUTES} routes, per route`,
    unit: "us",
    ours: perRoute(remove),
    floor: perRoute(batchRemove),
    floorIs: "ip -batch",
  },
  {
    what: `resync of ${ROUTES} routes, nothing to do`,
    unit: "ms",
    ours: resync,
    floor: bareDump,
    floorIs: "kernel dump, received but not decoded",
    target: 60,
  },
  { what: `restart with ${ROUTES} routes, nothing to do`, unit: "ms", ours: restart },
  { what: "add one route among them", unit: "us", ours: median(singles) * 1000 },
];
process.stdout.write(JSON.stringify(figures));
