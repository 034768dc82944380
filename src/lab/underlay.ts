/** Which static routes the lab's stations need so that each reaches all subnets, through the routers. Pure. */
import { bareAddress, isIpv6 } from "./names.ts";
import { networksOf } from "./spec-checks.ts";
import type { LabRouter, LabSpec, LabStation } from "./spec.ts";

export interface UnderlayRoute {
  /** A prefix, an address, or `default`. */
  readonly to: string;
  readonly via: string;
}

type Family = 4 | 6;

/** Of one of the file's stations, or of a host that came later. */
export function underlayRoutes(spec: LabSpec, station: LabStation): UnderlayRoute[] {
  return ([4, 6] as const).flatMap((family) => [
    ...toSubnets(spec, station, family),
    ...toOutside(spec, station, family),
    ...(spec.outside.some((one) => one.name === station.name)
      ? defaultOf(spec, station, family)
      : []),
  ]);
}

function toSubnets(spec: LabSpec, station: LabStation, family: Family): UnderlayRoute[] {
  const own = station.links.map((link) => link.subnet);
  return spec.subnets
    .filter((subnet) => !own.includes(subnet))
    .flatMap((subnet) => {
      const via = nextHop(spec, station, subnet, family);
      return via === undefined ? [] : networksIn(spec, subnet, family).map((to) => ({ to, via }));
    });
}

/** Addresses that are outside, but in no subnet. */
function toOutside(spec: LabSpec, station: LabStation, family: Family): UnderlayRoute[] {
  return spec.outside
    .filter((one) => one.name !== station.name)
    .flatMap((one) => {
      const behind = behindOf(one, family);
      const [link] = one.links;
      if (link === undefined || behind.length === 0) return [];
      const via = station.links.some(({ subnet }) => subnet === link.subnet)
        ? addressOn(one, link.subnet, family)
        : nextHop(spec, station, link.subnet, family);
      return via === undefined ? [] : behind.map((to) => ({ to, via }));
    });
}

/** Who is outside sends everything to a router of its subnet, or to the only host there is. */
function defaultOf(spec: LabSpec, station: LabStation, family: Family): UnderlayRoute[] {
  const [subnet] = station.links.map((link) => link.subnet);
  if (subnet === undefined) return [];
  const [host, second] = spec.hosts;
  const candidates: (LabStation | undefined)[] = [
    spec.routers.find((router) => router.links.some((link) => link.subnet === subnet)),
    second === undefined ? host : undefined,
  ];
  const gateway = candidates.find((one) => one !== undefined);
  const via = gateway && addressOn(gateway, subnet, family);
  return via === undefined ? [] : [{ to: "default", via }];
}

function behindOf(station: LabStation, family: Family): string[] {
  const suffix = family === 4 ? "/32" : "/128";
  return station.addresses
    .filter((address) => isIpv6(address) === (family === 6) && address.endsWith(suffix))
    .map(bareAddress);
}

/** The station's address in the subnet's own network. */
function addressOn(station: LabStation, subnet: string, family: Family): string | undefined {
  const suffix = family === 4 ? "/32" : "/128";
  const found = station.links
    .filter((link) => link.subnet === subnet)
    .flatMap((link) => link.addresses)
    .find((address) => isIpv6(address) === (family === 6) && !address.endsWith(suffix));
  return found === undefined ? undefined : bareAddress(found);
}

function networksIn(spec: LabSpec, subnet: string, family: Family): string[] {
  const all = [...spec.routers, ...spec.hosts, ...spec.outside].flatMap((one) =>
    networksOf(one, subnet),
  );
  return [...new Set(all)].filter((network) => isIpv6(network) === (family === 6));
}

/** Breadth first over routers; the address of the first one on the shortest way. */
function nextHop(
  spec: LabSpec,
  station: LabStation,
  target: string,
  family: Family,
): string | undefined {
  const seen = new Set<string>([station.name]);
  let frontier = station.links.map(({ subnet }) => ({
    subnet,
    via: undefined as string | undefined,
  }));
  while (frontier.length > 0) {
    const next: typeof frontier = [];
    for (const { subnet, via } of frontier) {
      for (const router of routersOn(spec, subnet)) {
        if (seen.has(router.name)) continue;
        seen.add(router.name);
        const first = via ?? addressOn(router, subnet, family);
        if (first === undefined) continue;
        if (router.links.some((link) => link.subnet === target)) return first;
        next.push(...router.links.map((link) => ({ subnet: link.subnet, via: first })));
      }
    }
    frontier = next;
  }
  return undefined;
}

function routersOn(spec: LabSpec, subnet: string): readonly LabRouter[] {
  return spec.routers.filter((router) => router.links.some((link) => link.subnet === subnet));
}
