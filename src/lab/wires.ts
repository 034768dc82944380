/**
 * Stations and the links between them: a network namespace each, a bridge for each subnet, and a veth
 * pair for each link, whose far end is the bridge's port.
 *
 *   [host-a] eth0 ── p0 ─ bridge rack-1 ─ p1 ── eth0 [spine] eth1 ── p2 ─ bridge rack-2 …
 *      mgmt0 ── m0 ─ bridge mgmt ─ m1 ── mgmt0 [etcd-1]          all bridges are in one namespace of their own
 *
 * A link that is cut has its port down: the station sees its carrier go. Loss is nf_tables on the port, in
 * both directions, since not every kernel has netem; a rate is a token bucket (tc-tbf(8)) at each end.
 */
import { inputError } from "#std";
import { ipBatch, runTool } from "./ip-tool.ts";
import { isIpv6, MANAGEMENT, netnsOf } from "./names.ts";
import type { LabLink } from "./spec.ts";
import type { UnderlayRoute } from "./underlay.ts";

const BRIDGES = "mgy-wire";
const LO_UP = "link set lo up";

export interface Wire {
  /** `host-a/rack-1`. */
  readonly name: string;
  readonly station: string;
  readonly subnet: string;
  /** In the station. */
  readonly device: string;
  readonly addresses: readonly string[];
  readonly lossPercent: number;
  readonly rateBytes?: number;
  readonly up: boolean;
}

export class Wires {
  readonly #bridges = new Map<string, string>();
  readonly #wires = new Map<string, Wire & { readonly port: string }>();
  #ports = 0;

  constructor(subnets: readonly string[]) {
    addNamespace(BRIDGES);
    for (const subnet of subnets) {
      const bridge = `br${this.#bridges.size}`;
      this.#bridges.set(subnet, bridge);
      ipBatch(BRIDGES, [
        `link add ${bridge} type bridge stp_state 0 forward_delay 0`,
        `link set ${bridge} up`,
      ]);
    }
  }

  list(): readonly Wire[] {
    return [...this.#wires.values()];
  }

  /** A namespace of that name. */
  addStation(station: string, forwards = false): void {
    addNamespace(netnsOf(station));
    if (!forwards) return;
    const on = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    runTool("ip", ["netns", "exec", netnsOf(station), "sysctl", "-qw", ...on]);
  }

  addLink(station: string, link: LabLink): void {
    const netns = netnsOf(station);
    const port = `p${this.#ports++}`;
    const own = this.#of(station).filter((wire) => wire.subnet !== MANAGEMENT).length;
    const device = link.subnet === MANAGEMENT ? "mgmt0" : `eth${own}`;
    ipBatch(BRIDGES, [
      `link add ${port} type veth peer name ${device} netns ${netns}`,
      `link set ${port} master ${this.#bridges.get(link.subnet) ?? ""}`,
      `link set ${port} up`,
    ]);
    ipBatch(netns, [
      `link set ${device} up`,
      ...link.addresses.map((address) => addAddress(address, device)),
    ]);
    const name = `${station}/${link.subnet}`;
    this.#wires.set(name, { ...link, name, station, device, port, up: true });
    lose(port, link.lossPercent);
    shape(BRIDGES, port, link.rateBytes);
    shape(netns, device, link.rateBytes);
  }

  /** For the lab's own namespace, where commands on the datastore run. */
  addOwnLink(subnet: string, address: string): void {
    const port = `p${this.#ports++}`;
    ipBatch(undefined, [
      LO_UP,
      `link add ${subnet} type veth peer name ${port} netns ${BRIDGES}`,
      `link set ${subnet} up`,
      addAddress(address, subnet),
    ]);
    ipBatch(BRIDGES, [
      `link set ${port} master ${this.#bridges.get(subnet) ?? ""}`,
      `link set ${port} up`,
    ]);
  }

  #of(station: string): readonly (Wire & { readonly port: string })[] {
    return [...this.#wires.values()].filter((wire) => wire.station === station);
  }

  /**
   * The links that are meant: `host-a/rack-1`, or with a station's name all that it has but the one to
   * etcd (all of them, if there is no other). Throws `no-such-link`.
   */
  named(name: string): readonly Wire[] {
    const one = this.#wires.get(name);
    if (one !== undefined) return [one];
    const all = this.#of(name);
    const data = all.filter((wire) => wire.subnet !== MANAGEMENT);
    if (all.length > 0) return data.length > 0 ? data : all;
    const names = [...this.#wires.keys()].join(", ");
    throw inputError("no-such-link", `the lab has no link ${name}; there are: ${names}`);
  }

  ofStation(station: string): readonly Wire[] {
    return this.#of(station);
  }

  set(wires: readonly Wire[], up: boolean): void {
    for (const { name } of wires) {
      const wire = this.#wires.get(name);
      if (wire === undefined) continue;
      ipBatch(BRIDGES, [`link set ${wire.port} ${up ? "up" : "down"}`]);
      this.#wires.set(name, { ...wire, up });
    }
  }

  addRoutes(station: string, routes: readonly UnderlayRoute[]): void {
    ipBatch(
      netnsOf(station),
      routes.map(({ to, via }) => `route replace ${to} via ${via}`),
    );
  }

  removeStation(station: string): void {
    for (const wire of this.#of(station)) {
      this.#wires.delete(wire.name);
      ipBatch(BRIDGES, [`link del ${wire.port}`]);
    }
    removeNamespace(netnsOf(station));
  }
}

function addNamespace(netns: string): void {
  ipBatch(undefined, [`netns add ${netns}`]);
  setUp(netns, []);
}

/**
 * Its loopback and these lines of `ip`, without duplicate address detection, which costs a second an
 * address and finds nothing here.
 */
export function setUp(netns: string, lines: readonly string[]): void {
  const script =
    'for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >"$f"; done; exec ip -batch -';
  const argv = ["netns", "exec", netns, "sh", "-c", script];
  runTool("ip", argv, `${[LO_UP, ...lines].join("\n")}\n`);
}

export function removeNamespace(netns: string): void {
  ipBatch(undefined, [`netns del ${netns}`]);
}

export function addAddress(address: string, device: string): string {
  return `addr add ${address} dev ${device}${isIpv6(address) ? " nodad" : ""}`;
}

function lose(port: string, lossPercent: number): void {
  if (lossPercent === 0) return;
  const rule = `numgen random mod 10000 < ${Math.round(lossPercent * 100)} drop`;
  const chains = ["ingress", "egress"].map(
    (hook) => `chain ${hook} { type filter hook ${hook} device "${port}" priority 0; ${rule}; }`,
  );
  const text = `table netdev ${port} {\n${chains.join("\n")}\n}\n`;
  runTool("ip", ["netns", "exec", BRIDGES, "nft", "-f", "-"], text);
}

/** What may pass at once: 10 ms of the rate, at least a few full packets. */
const BURST_SECONDS = 0.01;
const LEAST_BURST_BYTES = 16_384;
/** What would wait longer is dropped. */
const QUEUE_MS = 50;

/** Each end holds back what it sends. */
function shape(netns: string, device: string, rateBytes: number | undefined): void {
  if (rateBytes === undefined) return;
  const burst = Math.max(LEAST_BURST_BYTES, Math.round(rateBytes * BURST_SECONDS));
  const tbf = ["rate", `${rateBytes * 8}bit`, "burst", `${burst}b`, "latency", `${QUEUE_MS}ms`];
  runTool("tc", ["-n", netns, "qdisc", "add", "dev", device, "root", "tbf", ...tbf]);
}
