/**
 * The VXLAN tunnels' far ends: for each node a forwarding entry (its MAC is at that host) and a
 * neighbour entry (its tunnel address has that MAC), so that nothing ever has to be asked for.
 */
import { formatIp, tryParseIp, tryParseMac, type Ip, type IpFamily, type Mac } from "#ip";
import type { ToDataplane } from "#calc";
import { compareBytes, MultiMap } from "#std";
import type { NeighbourDriver } from "../neighbour-driver.ts";
import type { ForwardingDriver } from "./forwarding-driver.ts";

type VtepUpdate = Extract<ToDataplane, { case: "vtepUpdate" }>["value"];

/** One family's end of a tunnel. */
export interface TunnelEnd {
  readonly mac: Mac;
  readonly tunnel: Ip;
  readonly host: Ip;
}

interface Programmed {
  readonly ifindex: number;
  readonly end: TunnelEnd;
}

export class Vteps {
  readonly #family: IpFamily;
  readonly #hostname: string;
  readonly #forwarding: ForwardingDriver;
  readonly #neighbours: NeighbourDriver;
  readonly #ends = new Map<string, TunnelEnd>();
  readonly #programmed = new Map<string, Programmed>();
  /** Nodes with the same MAC or tunnel address: one is wrong, and the first by name has it. */
  readonly #nodesByKey = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();
  #ifindex: number | undefined;

  constructor(
    family: IpFamily,
    hostname: string,
    drivers: { forwarding: ForwardingDriver; neighbours: NeighbourDriver },
  ) {
    this.#family = family;
    this.#hostname = hostname;
    this.#forwarding = drivers.forwarding;
    this.#neighbours = drivers.neighbours;
  }

  /** False: nothing changed. */
  set(node: string, update: VtepUpdate | undefined): boolean {
    const before = this.#ends.get(node);
    const end = update === undefined ? undefined : endOf(this.#family, update);
    if (end === undefined) this.#ends.delete(node);
    else this.#ends.set(node, end);
    if (sameEnd(before, end)) return false;
    this.#dirty.add(node);
    return true;
  }

  get(node: string): TunnelEnd | undefined {
    return this.#ends.get(node);
  }

  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The device that leads there; undefined: there is none. */
  setDevice(ifindex: number | undefined): void {
    if (ifindex === this.#ifindex) return;
    this.#ifindex = ifindex;
    for (const node of this.#ends.keys()) this.#dirty.add(node);
  }

  /** Tells the drivers. What goes, goes first: another node may have its addresses already. */
  settle(): void {
    if (this.#dirty.size === 0) return;
    const touched = new Set(this.#dirty);
    for (const node of this.#dirty) {
      const known = this.#programmed.get(node);
      if (known === undefined) continue;
      this.#clear(node, known);
      for (const key of keysOf(known.end)) {
        for (const other of this.#nodesByKey.get(key)) touched.add(other);
      }
    }
    for (const node of [...touched].sort(compareBytes).reverse()) this.#program(node);
    this.#dirty.clear();
  }

  #clear(node: string, { end, ifindex }: Programmed): void {
    this.#forwarding.set(ifindex, end.mac, undefined);
    this.#neighbours.set(end.tunnel, undefined, undefined);
    this.#programmed.delete(node);
    for (const key of keysOf(end)) this.#nodesByKey.delete(key, node);
  }

  #program(node: string): void {
    const end = this.#ends.get(node);
    const ifindex = this.#ifindex;
    if (end === undefined || ifindex === undefined || node === this.#hostname) return;
    this.#forwarding.set(ifindex, end.mac, end.host);
    this.#neighbours.set(end.tunnel, ifindex, end.mac);
    this.#programmed.set(node, { ifindex, end });
    for (const key of keysOf(end)) this.#nodesByKey.add(key, node);
  }
}

function endOf(family: IpFamily, update: VtepUpdate): TunnelEnd | undefined {
  const [macText, tunnelText, hostText] =
    family === 4
      ? [update.mac, update.ipv4Addr, update.parentDeviceIp]
      : [update.macV6, update.ipv6Addr, update.parentDeviceIpv6];
  const mac = tryParseMac(macText);
  const tunnel = tryParseIp(tunnelText);
  const host = tryParseIp(hostText);
  if (mac === undefined || tunnel?.family !== family || host?.family !== family) return undefined;
  return { mac, tunnel, host };
}

function keysOf({ mac, tunnel }: TunnelEnd): readonly string[] {
  return [mac, formatIp(tunnel)];
}

function sameEnd(a: TunnelEnd | undefined, b: TunnelEnd | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.mac === b.mac &&
    formatIp(a.tunnel) === formatIp(b.tunnel) &&
    formatIp(a.host) === formatIp(b.host)
  );
}
