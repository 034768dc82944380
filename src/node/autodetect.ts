/**
 * Which of a host's addresses is the node's. Interfaces are looked at from the newest to the oldest,
 * as Calico does, so that both find the same one.
 */
import { cidrContainsIp, formatIp, tryParseCidr, type Cidr, type Ip, type IpFamily } from "#ip";
import { messageOf, unreachable } from "#std";
import { badSetting, list } from "./environment.ts";

/** `text`: as it was written. */
export type Method = { readonly text: string } & (
  | { readonly kind: "first-found" }
  | { readonly kind: "interface"; readonly names: RegExp }
  | { readonly kind: "skip-interface"; readonly names: RegExp }
  | { readonly kind: "cidr"; readonly cidrs: readonly Cidr[] }
  | { readonly kind: "can-reach"; readonly destination: string }
  | { readonly kind: "kubernetes-internal-ip" }
);

/** An address with the prefix length of its interface. */
export interface HostAddress {
  readonly ip: Ip;
  readonly prefixLen: number;
}

export interface HostInterface {
  readonly name: string;
  readonly index: number;
  readonly up: boolean;
  readonly addresses: readonly HostAddress[];
}

export interface Detected extends HostAddress {
  readonly interface: string;
}

/** Of bridges, workloads, tunnels and other software: never the host's own address. */
const NOT_OURS =
  /^(?:docker|cbr|dummy|podman|virbr|lxcbr|veth|lo|br-|cali|tunl|flannel|kube-ipvs|cni|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns)/;

const METHODS =
  "first-found, interface=REGEX,…, skip-interface=REGEX,…, can-reach=ADDRESS, cidr=CIDR,… or kubernetes-internal-ip";

/** Throws `bad-setting`. */
export function parseMethod(variable: string, given: string, family: IpFamily): Method {
  const [kind, argument] = splitOnce(given);
  const isAlone = kind === "first-found" || kind === "kubernetes-internal-ip";
  if (isAlone && argument === undefined) return { kind, text: given };
  const parts = list(argument ?? "");
  if (parts.length === 0) throw badSetting(variable, given, METHODS);
  switch (kind) {
    case "interface":
    case "skip-interface":
      return { kind, text: given, names: anyOf(variable, given, parts) };
    case "can-reach":
      return { kind, text: given, destination: parts.join(",") };
    case "cidr": {
      const cidrs = parts.map((part) => tryParseCidr(part));
      const known = cidrs.filter((cidr) => cidr?.family === family) as Cidr[];
      if (known.length === cidrs.length) return { kind, text: given, cidrs: known };
      throw badSetting(variable, given, `IPv${family} blocks such as cidr=10.0.0.0/8`);
    }
    default:
      throw badSetting(variable, given, METHODS);
  }
}

function splitOnce(given: string): [string, string?] {
  const at = given.indexOf("=");
  return at < 0 ? [given] : [given.slice(0, at), given.slice(at + 1)];
}

function anyOf(variable: string, given: string, parts: readonly string[]): RegExp {
  try {
    return new RegExp(parts.map((part) => `(?:${part})`).join("|"));
  } catch (error) {
    throw badSetting(variable, given, `regular expressions (${messageOf(error)})`);
  }
}

/** What a method may have to ask. */
export interface Oracles {
  /** Which address the host would send from. */
  readonly sourceTowards: (destination: string, family: IpFamily) => Promise<Ip | undefined>;
  /** What Kubernetes calls the node's internal addresses. */
  readonly internalIps: () => Promise<readonly Ip[]>;
}

/** Undefined when no address fits. */
export async function detect(
  method: Method,
  family: IpFamily,
  interfaces: readonly HostInterface[],
  { sourceTowards, internalIps }: Oracles,
): Promise<Detected | undefined> {
  const first = (accept: (one: HostInterface, ip: Ip) => boolean): Detected | undefined =>
    firstAddress(interfaces, family, accept);
  switch (method.kind) {
    case "first-found":
      return first(({ name }) => !NOT_OURS.test(name));
    case "interface":
      return first(({ name }) => method.names.test(name));
    case "skip-interface":
      return first(({ name }) => !method.names.test(name) && !NOT_OURS.test(name));
    case "cidr":
      return first((_, ip) => method.cidrs.some((cidr) => cidrContainsIp(cidr, ip)));
    case "can-reach": {
      const source = await sourceTowards(method.destination, family);
      return source && findAddress(interfaces, source);
    }
    case "kubernetes-internal-ip": {
      const ip = (await internalIps()).find((one) => one.family === family);
      return ip && findAddress(interfaces, ip);
    }
    default:
      return unreachable(method);
  }
}

function firstAddress(
  interfaces: readonly HostInterface[],
  family: IpFamily,
  accept: (one: HostInterface, ip: Ip) => boolean,
): Detected | undefined {
  for (const one of interfaces.toSorted((a, b) => b.index - a.index)) {
    if (!one.up) continue;
    const found = one.addresses.find(
      ({ ip }) => ip.family === family && isGlobalUnicast(ip) && accept(one, ip),
    );
    if (found !== undefined) return { ...found, interface: one.name };
  }
  return undefined;
}

/** The interface that has the address. */
export function findAddress(interfaces: readonly HostInterface[], ip: Ip): Detected | undefined {
  const wanted = formatIp(ip);
  for (const one of interfaces) {
    const found = one.addresses.find((address) => formatIp(address.ip) === wanted);
    if (found !== undefined) return { ...found, interface: one.name };
  }
  return undefined;
}

const NOT_GLOBAL: readonly Cidr[] = [
  "0.0.0.0/32",
  "255.255.255.255/32",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "::/127",
  "fe80::/10",
  "ff00::/8",
].flatMap((text) => tryParseCidr(text) ?? []);

function isGlobalUnicast(ip: Ip): boolean {
  return !NOT_GLOBAL.some((cidr) => cidr.family === ip.family && cidrContainsIp(cidr, ip));
}
