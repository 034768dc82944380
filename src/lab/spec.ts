/**
 * The lab file: subnets and routers, hosts on them, workloads, peers outside, the resources to apply
 * and what is expected of the connectivity matrix. Parsed strictly: an unknown field or a bad value is
 * an error with its position, and nothing is started. A file with one host needs no subnets: `host` is
 * short for `hosts` with one entry, and who names no subnet is on the first.
 */
import { readFileSync } from "node:fs";
import { LineCounter, parseDocument, type Document } from "yaml";
import type { z } from "zod";
import { addToIp, formatIp, parseCidr } from "#ip";
import { inputError } from "#std";
import { checkSpec } from "./spec-checks.ts";
import { EXPECTATION, labSchema, type StationFields } from "./spec-schema.ts";

export interface Listen {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

/** Whoever takes part in the matrix. */
export interface LabPeer {
  readonly name: string;
  /** With or without a prefix; the first of a family is what others connect to. */
  readonly addresses: readonly string[];
  readonly listen: readonly Listen[];
}

export interface LabLink {
  readonly subnet: string;
  /** With the subnet's prefix. */
  readonly addresses: readonly string[];
  /** Of packets, in each direction. */
  readonly lossPercent: number;
  /** In each direction; absent = as fast as it goes. */
  readonly rateBytes?: number;
}

/** Whoever has links of its own. */
export interface LabStation extends LabPeer {
  readonly links: readonly LabLink[];
}

export interface LabHost extends LabStation {
  readonly labels: Readonly<Record<string, string>>;
  readonly asNumber?: number;
  /** For its `margay` processes. */
  readonly env: Readonly<Record<string, string>>;
}

export interface LabRouter extends LabStation {
  readonly bgp?: {
    readonly daemon: "frr" | "gobgp";
    readonly asNumber: number;
    /** Of the hosts; default 64512. */
    readonly peerAsNumber: number;
    readonly announces: readonly string[];
  };
}

export interface LabWorkload extends LabPeer {
  readonly host: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly profiles: readonly string[];
  /** Names of pools that IPAM takes its addresses from; empty = whichever it may use. */
  readonly pools: readonly string[];
}

/** `from -> to proto:port`, `*` for any; the last matching line decides, else `default`. */
export interface Expectation {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly family?: 4 | 6;
  readonly allow: boolean;
}

export interface LabSpec {
  readonly name: string;
  /** Members of the etcd cluster; 0 = the embedded store. */
  readonly etcdMembers: number;
  readonly subnets: readonly string[];
  readonly routers: readonly LabRouter[];
  readonly hosts: readonly LabHost[];
  readonly outside: readonly LabStation[];
  /** Those without addresses get them from IPAM. */
  readonly workloads: readonly LabWorkload[];
  readonly resources: readonly unknown[];
  readonly expect?: { readonly default: boolean; readonly lines: readonly Expectation[] };
}

/** A complaint about the file: where, and what to do. */
export interface SpecFault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export function readLabSpec(path: string): LabSpec {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw inputError(
      "no-such-file",
      `${path}: cannot be read: give the path of a lab file, e.g. examples/three-hosts.yaml`,
      { cause: error },
    );
  }
  return parseLabSpec(text, path);
}

export function parseLabSpec(text: string, path: string): LabSpec {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const faults = document.errors.map(
    (error) => `${path}:${place(lines, error.pos[0])}: ${error.message.split("\n")[0]}`,
  );
  if (faults.length > 0) throw inputError("bad-lab-file", faults.join("\n"));
  const refuse = (complaints: readonly SpecFault[]): never => {
    const messages = complaints.map(({ path: at, message }) => {
      const where = place(lines, positionOf(document, at));
      return `${path}:${where}: ${at.join(".") || "the document"}: ${message}`;
    });
    throw inputError("bad-lab-file", messages.join("\n"));
  };
  const parsed = labSchema.safeParse(document.toJS());
  if (!parsed.success) return refuse(parsed.error.issues);
  const spec = specOf(parsed.data);
  const complaints = checkSpec(spec, { shorthand: parsed.data.hosts === undefined });
  return complaints.length > 0 ? refuse(complaints) : spec;
}

function specOf(raw: z.infer<typeof labSchema>): LabSpec {
  const subnets = raw.subnets ?? ["wire"];
  const first = subnets[0] ?? "wire";
  const hosts = (raw.hosts ?? (raw.host === undefined ? [] : [raw.host])).map((host) => ({
    ...stationOf(host, first),
    labels: host.labels,
    env: host.env,
    ...(host.asNumber === undefined ? {} : { asNumber: host.asNumber }),
  }));
  return {
    name: raw.name,
    etcdMembers: raw.etcd ?? 0,
    subnets,
    routers: raw.routers.map((router) => routerOf(router, first)),
    hosts,
    outside: raw.outside.map((station) => stationOf(station, first)),
    workloads: raw.workloads.map((w) => ({
      ...w,
      host: w.host ?? hosts[0]?.name ?? "",
      addresses: w.addresses === "auto" ? [] : w.addresses,
      profiles: w.profiles ?? [`kns.${w.namespace}`],
    })),
    resources: raw.resources,
    ...(raw.expect === undefined ? {} : { expect: expectOf(raw.expect) }),
  };
}

function stationOf(raw: StationFields, firstSubnet: string): LabStation {
  const { subnet = firstSubnet, addresses, loss, rate } = raw;
  const given = raw.links ?? [{ subnet, addresses, loss, rate }];
  return {
    name: raw.name,
    listen: raw.listen,
    addresses: given.flatMap((link) => link.addresses),
    links: given.map((link) => ({
      subnet: link.subnet,
      addresses: link.addresses,
      lossPercent: link.loss,
      ...(link.rate === undefined ? {} : { rateBytes: link.rate }),
    })),
  };
}

function routerOf(
  raw: z.infer<typeof labSchema>["routers"][number],
  firstSubnet: string,
): LabRouter {
  const station = stationOf(raw, firstSubnet);
  if (raw.bgp === undefined) return station;
  const own = raw.bgp.announces.map(firstAddressIn);
  // Others are to reach what it announces: that shows that they have the route.
  return { ...station, bgp: raw.bgp, addresses: [...own, ...station.addresses] };
}

/** The address of an announced prefix that the router has itself: its first. */
function firstAddressIn(prefix: string): string {
  const cidr = parseCidr(prefix);
  return formatIp(addToIp(cidr, 1) ?? cidr);
}

function expectOf(
  raw: NonNullable<z.infer<typeof labSchema>["expect"]>,
): NonNullable<LabSpec["expect"]> {
  return {
    default: raw.default === "allow",
    lines: [
      ...raw.allow.map((line) => parseExpectation(line, true)),
      ...raw.deny.map((line) => parseExpectation(line, false)),
    ],
  };
}

function parseExpectation(line: string, allow: boolean): Expectation {
  const match = EXPECTATION.exec(line);
  const family =
    match?.[4] === undefined ? {} : { family: match[4] === "4" ? (4 as const) : (6 as const) };
  return { from: match?.[1] ?? "", to: match?.[2] ?? "", port: match?.[3] ?? "", allow, ...family };
}

function positionOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    const range = (node as { range?: [number, number, number] } | undefined)?.range;
    if (range !== undefined) return range[0];
  }
  return 0;
}

function place(lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${line}:${col}`;
}
