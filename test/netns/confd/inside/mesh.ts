/** Three hosts with BIRD from our configuration: a mesh, its routes in the kernel, changes, faults. */

import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  affinity,
  bgpConfiguration,
  bgpFilter,
  bgpPeer,
  node,
  pool,
} from "../../../support/bgp.ts";
import { BgpHosts } from "../../../support/bgp-hosts.ts";

export interface MeshResult {
  readonly establishedMs: number;
  readonly mode: number;
  readonly routes: Readonly<Record<string, readonly string[]>>;
  readonly pings: readonly string[];
  readonly borrowed: string;
  readonly ownAddressAnnounced: boolean;
  readonly moving: string;
  readonly sinceBefore: readonly string[];
  readonly sinceAfter: readonly string[];
  readonly lossDuringReload: string;
  readonly communityMs: number;
  readonly reloadedOnlyOne: boolean;
  readonly filtered: { readonly atTwo: string; readonly atThree: string; readonly back: string };
  readonly refused: {
    readonly kept: boolean;
    readonly told: boolean;
    readonly sessions: string;
    readonly taken: boolean;
  };
  readonly show: string;
  readonly routesOut: string;
  readonly killed: { readonly kernel: string; readonly loss: string };
}

const HOSTS = [1, 2, 3];
const hosts = await BgpHosts.start(HOSTS);
let result: MeshResult | undefined;
try {
  result = await scenario();
} catch (error) {
  for (const number of HOSTS) {
    process.stderr.write(
      `${hosts.log(`confd-${number}`)}\n${hosts.birdc(number, "bird", "show protocols")}\n`,
    );
    process.stderr.write(hosts.run(number, "ip", "route"));
  }
  throw error;
} finally {
  await hosts.stop();
}
process.stdout.write(JSON.stringify(result));

async function scenario(): Promise<MeshResult> {
  await hosts.put(
    ...HOSTS.map((number) => node(number)),
    ...HOSTS.flatMap((number) => [
      affinity(`host-${number}`, `10.65.${number}.0/26`),
      affinity(`host-${number}`, `fd65::${number}:0/122`),
    ]),
    pool("four", { cidr: "10.65.0.0/16" }),
    pool("six", { cidr: "fd65::/64" }),
  );
  for (const number of HOSTS) await hosts.startHost(number);
  const establishedMs = await hosts.until("every session is established", () =>
    HOSTS.every(
      (number) => established(number, "bird") === 2 && established(number, "bird6") === 2,
    ),
  );
  await hosts.until("every block is in every kernel", () =>
    HOSTS.every((number) => bgpRoutes(number).length === 4),
  );
  const routes = Object.fromEntries(HOSTS.map((number) => [`host-${number}`, allRoutes(number)]));
  const pings = [ping(1, "10.65.1.5", "10.65.2.5"), ping(3, "fd65::3:5", "fd65::1:5")];

  hosts.ip(`-n ${hosts.namespace(1)} route add 10.65.2.9/32 dev cali0 proto 80 metric 1024`);
  hosts.ip(`-n ${hosts.namespace(1)} route add 10.65.1.7/32 dev cali0 proto 80 metric 1024`);
  const borrowedRoute = (): string => hosts.run(3, "ip", "route", "show", "10.65.2.9").trim();
  await hosts.until("a borrowed address is announced", () => borrowedRoute() !== "");
  const borrowed = borrowedRoute();
  const ownAddressAnnounced = hosts.run(3, "ip", "route", "show", "10.65.1.7").trim() !== "";

  // As the agent programs a workload that is moving here.
  hosts.ip(`-n ${hosts.namespace(1)} route add 10.65.1.8/32 dev cali0 proto 80 metric 512`);
  const movingRoute = (): string => hosts.run(3, "ip", "route", "show", "10.65.1.8").trim();
  await hosts.until("a moving workload is announced", () => movingRoute() !== "");
  const moving = movingRoute();

  const reload = await reloading();
  const show = hosts.margay(2, "bgp", "show", "--run-dir", hosts.home(2));
  const routesOut = hosts.margay(2, "bgp", "routes", "10.0.0.1", "--run-dir", hosts.home(2));
  return {
    establishedMs,
    mode: statSync(join(hosts.home(1), "config", "bird.cfg")).mode & 0o777,
    routes,
    pings,
    borrowed,
    ownAddressAnnounced,
    moving,
    ...reload,
    show,
    routesOut,
    refused: await refusing(),
    filtered: await filtering(),
    killed: await killing(),
  };
}

async function reloading() {
  const sinceBefore = HOSTS.map((number) => since(number));
  const six = hosts.log("confd-1").split("bird6.cfg").length;
  const pinging = startPing(1, "10.65.1.5", "10.65.2.5");
  await hosts.put(
    bgpConfiguration({
      prefixAdvertisements: [{ cidr: "10.65.0.0/16", communities: ["64512:77"] }],
    }),
  );
  const communityMs = await hosts.until("the community arrives", () =>
    hosts.birdc(2, "bird", "show route all 10.65.1.0/26").includes("(64512,77)"),
  );
  await hosts.put(node(4));
  await hosts.until("a peer more", () => hosts.birdc(1, "bird", "show protocols").includes("_4 "));
  const lossDuringReload = await pinging();
  return {
    sinceBefore,
    communityMs,
    sinceAfter: HOSTS.map((number) => since(number)),
    lossDuringReload,
    // The first change concerned IPv4 alone, the second both: one line of each kind for BIRD 6.
    reloadedOnlyOne: hosts.log("confd-1").split("bird6.cfg").length - six === 2,
  };
}

async function refusing(): Promise<MeshResult["refused"]> {
  const refuse = join(hosts.home(1), "refuse");
  writeFileSync(refuse, "");
  const before = hosts.config(1, "bird");
  await hosts.put(node(5));
  await hosts.until("the others know of it", () => hosts.config(2, "bird").includes("10.0.0.5"));
  await hosts.until("it is told", () => hosts.log("confd-1").includes("which stays as it was"));
  const kept = hosts.config(1, "bird") === before;
  const told = hosts.log("confd-1").includes("bird.cfg:1:1 refused");
  const sessions = hosts.birdc(1, "bird", "show protocols");
  rmSync(refuse);
  await hosts.put(node(6));
  await hosts.until("the next one is taken", () => hosts.config(1, "bird").includes("10.0.0.6"));
  return { kept, told, sessions, taken: true };
}

async function filtering(): Promise<MeshResult["filtered"]> {
  const peer = bgpPeer("two", {
    node: "host-1",
    peerIP: "10.0.0.2",
    asNumber: 64_512,
    filters: ["no-block"],
    reversePeering: "Manual",
  });
  const route = (number: number): string =>
    hosts.run(number, "ip", "route", "show", "10.65.1.0/26").trim();
  await hosts.put(
    bgpFilter("no-block", {
      exportV4: [{ action: "Reject", cidr: "10.65.1.0/26", matchOperator: "Equal" }],
    }),
    peer,
  );
  await hosts.until("the filter stops it", () => route(2) === "" && established(1, "bird") >= 2);
  const [atTwo, atThree] = [route(2), route(3)];
  await hosts.remove(peer);
  await hosts.until("it is back", () => route(2) !== "");
  return { atTwo, atThree, back: route(2) };
}

async function killing(): Promise<MeshResult["killed"]> {
  const pinging = startPing(3, "10.65.3.5", "10.65.1.5");
  await hosts.kill("bird-1", "SIGKILL");
  const kernel = hosts.run(1, "ip", "route", "show", "10.65.3.0/26").trim();
  hosts.startBird(1, "bird");
  await hosts.until("sessions are back", () => established(1, "bird") >= 2);
  return { kernel, loss: await pinging() };
}

function established(number: number, name: string): number {
  return hosts.birdc(number, name, "show protocols").split("Established").length - 1;
}

function since(number: number): string {
  const lines = hosts.birdc(number, "bird", "show protocols").split("\n");
  return lines
    .filter((line) => line.includes("Established"))
    .toSorted()
    .join("\n");
}

function allRoutes(number: number): string[] {
  const text = hosts.run(number, "ip", "route") + hosts.run(number, "ip", "-6", "route");
  return text
    .split("\n")
    .filter((line) => line.includes("proto bird"))
    .map((line) => line.trim().replaceAll(/\s+/g, " "));
}

function bgpRoutes(number: number): string[] {
  return allRoutes(number).filter((line) => line.includes(" via "));
}

function ping(number: number, from: string, to: string): string {
  return lossOf(hosts.run(number, "ping", "-c", "2", "-i", "0.2", "-W", "2", "-I", from, to));
}

/** Every 50 ms until the returned function is called. */
function startPing(number: number, from: string, to: string): () => Promise<string> {
  const name = `ping-${from}`;
  const argv = [
    "ip",
    "netns",
    "exec",
    hosts.namespace(number),
    "ping",
    "-i",
    "0.05",
    "-I",
    from,
    to,
  ];
  hosts.spawn(name, argv);
  return async () => {
    await hosts.kill(name, "SIGINT");
    return lossOf(hosts.log(name));
  };
}

function lossOf(output: string): string {
  return /(\S+) packet loss/.exec(output)?.[1] ?? output;
}
