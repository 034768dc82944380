/** What a lab file's parts say of each other: names, subnets, pools. Pure. */
import {
  cidrContainsIp,
  formatCidr,
  isHostCidr,
  parseIpInNetwork,
  tryParseCidr,
  tryParseCidrOrIp,
} from "#ip";
import { didYouMean } from "#std";
import { MANAGEMENT, memberName } from "./names.ts";
import type { LabSpec, LabStation, LabWorkload, SpecFault } from "./spec.ts";

type Path = readonly PropertyKey[];

interface Placed {
  readonly path: Path;
  readonly station: LabStation;
}

export function checkSpec(spec: LabSpec, { shorthand }: { shorthand: boolean }): SpecFault[] {
  if (spec.hosts.length === 0)
    return [{ path: [], message: "a lab has hosts: give `hosts`, or `host` for a single one" }];
  const stations = placed(spec, shorthand);
  return [
    ...checkNames(spec, stations),
    ...stations.flatMap((one) => checkLinks(spec, one)),
    ...checkSubnets(stations),
    ...spec.workloads.flatMap((w, index) => checkWorkload(spec, w, ["workloads", index])),
    ...checkExpectations(spec, stations),
  ];
}

function placed(spec: LabSpec, shorthand: boolean): Placed[] {
  const of = (key: string, stations: readonly LabStation[]): Placed[] =>
    stations.map((station, index) => ({
      path: key === "host" ? [key] : [key, index],
      station,
    }));
  return [
    ...of("routers", spec.routers),
    ...of(shorthand ? "host" : "hosts", spec.hosts),
    ...of("outside", spec.outside),
  ];
}

/** Names are namespaces on one machine, so they are unique. */
function checkNames(spec: LabSpec, stations: readonly Placed[]): SpecFault[] {
  const own = Array.from({ length: spec.etcdMembers }, (_, index) => memberName(index));
  const taken = new Set([...own, MANAGEMENT, "wire", "datastore"]);
  const named = [
    ...stations.map(({ path, station }) => ({ path, name: station.name })),
    ...spec.workloads.map((w, index) => ({ path: ["workloads", index], name: w.name })),
  ];
  return named.flatMap(({ path, name }) => {
    if (!taken.has(name)) {
      taken.add(name);
      return [];
    }
    return [{ path: [...path, "name"], message: `two peers are named ${name}: names must differ` }];
  });
}

function checkLinks(spec: LabSpec, { path, station }: Placed): SpecFault[] {
  const seen = new Set<string>();
  return station.links.flatMap((link, index) => {
    const at = [...path, "links", index];
    if (!spec.subnets.includes(link.subnet)) {
      return [{ path: at, message: unknown("subnet", link.subnet, spec.subnets) }];
    }
    if (networksOf(station, link.subnet).length === 0) {
      const message = `${station.name} needs an address with its subnet's prefix, e.g. 10.0.1.11/24`;
      return [{ path: at, message }];
    }
    if (seen.has(link.subnet))
      return [{ path: at, message: `${station.name} has two links to ${link.subnet}` }];
    seen.add(link.subnet);
    return [];
  });
}

/** The networks that the station's addresses on this subnet are in. */
export function networksOf(station: LabStation, subnet: string): string[] {
  return station.links
    .filter((link) => link.subnet === subnet)
    .flatMap((link) => link.addresses.map((address) => parseIpInNetwork(address).cidr))
    .filter((cidr) => !isHostCidr(cidr))
    .map(formatCidr);
}

/** Who shares a subnet shares its networks; an address belongs to one station. */
function checkSubnets(stations: readonly Placed[]): SpecFault[] {
  const networks = new Map<string, { readonly cidr: string; readonly by: string }>();
  const owners = new Map<string, string>();
  const faults: SpecFault[] = [];
  for (const { path, station } of stations) {
    for (const link of station.links) {
      for (const address of link.addresses) {
        const { ip, cidr } = parseIpInNetwork(address);
        const bare = address.split("/")[0] ?? "";
        const owner = owners.get(bare);
        if (owner !== undefined)
          faults.push({ path, message: `${bare} is ${owner}'s too: addresses must differ` });
        owners.set(bare, station.name);
        if (isHostCidr(cidr)) continue;
        const key = `${link.subnet} IPv${ip.family}`;
        const known = networks.get(key);
        const text = formatCidr(cidr);
        if (known === undefined) networks.set(key, { cidr: text, by: station.name });
        else if (known.cidr !== text) {
          const message = `${address} is not in ${known.cidr}, which ${link.subnet} is by ${known.by}`;
          faults.push({ path, message });
        }
      }
    }
  }
  return faults;
}

function checkWorkload(spec: LabSpec, workload: LabWorkload, path: Path): SpecFault[] {
  const hosts = spec.hosts.map((host) => host.name);
  if (!hosts.includes(workload.host))
    return [{ path: [...path, "host"], message: unknown("host", workload.host, hosts) }];
  const pools = poolsOf(spec);
  const names = pools.map((pool) => pool.name);
  const missing = workload.pools.find((name) => !names.includes(name));
  if (missing !== undefined)
    return [{ path: [...path, "pools"], message: unknown("IPPool in resources", missing, names) }];
  if (workload.addresses.length === 0 && pools.length === 0) {
    const message = `${workload.name} gets its addresses from IPAM: give an IPPool in resources, or addresses`;
    return [{ path, message }];
  }
  return [];
}

export interface SpecPool {
  readonly name: string;
  readonly cidr: string;
  readonly family: 4 | 6;
}

/** The pools among the file's resources. */
export function poolsOf(spec: LabSpec): SpecPool[] {
  return spec.resources.flatMap((resource) => {
    const {
      kind,
      metadata,
      spec: body,
    } = resource as {
      readonly kind: string;
      readonly metadata?: { readonly name?: string };
      readonly spec?: { readonly cidr?: string };
    };
    const cidr = kind === "IPPool" ? tryParseCidr(body?.cidr ?? "") : undefined;
    if (cidr === undefined) return [];
    return [{ name: metadata?.name ?? "", cidr: formatCidr(cidr), family: cidr.family }];
  });
}

/** Is the address in one of the file's pools, so that IPAM must know of it? */
export function inSomePool(spec: LabSpec, address: string): boolean {
  const ip = tryParseCidrOrIp(address);
  return (
    ip !== undefined &&
    poolsOf(spec).some(({ cidr }) => {
      const pool = tryParseCidr(cidr);
      return pool !== undefined && cidrContainsIp(pool, ip);
    })
  );
}

function checkExpectations(spec: LabSpec, stations: readonly Placed[]): SpecFault[] {
  const names = [...stations.map((one) => one.station), ...spec.workloads].map((p) => p.name);
  return (spec.expect?.lines ?? []).flatMap((line) =>
    [line.from, line.to]
      .filter((name) => name !== "*" && !names.includes(name))
      .map((name) => ({
        path: ["expect"],
        message: `expect names ${name}, which is not in the file; there are: ${names.join(", ")}`,
      })),
  );
}

function unknown(what: string, name: string, known: readonly string[]): string {
  const guess = didYouMean(name, known);
  const hint =
    guess === undefined ? `there are: ${known.join(", ") || "none"}` : `did you mean ${guess}?`;
  return `no ${what} ${JSON.stringify(name)}; ${hint}`;
}
