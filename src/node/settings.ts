/**
 * calico-node's variables, parsed once. A value that is not understood is an error that names the
 * variable and what it takes: a node that starts otherwise than was meant is hard to find later.
 */
import { nodeNameFrom } from "#ctl";
import { tryParseIp, tryParseIpInNetwork, type Ip, type IpFamily } from "#ip";
import { parseDuration } from "#resource";
import { parseMethod, type Method } from "./autodetect.ts";
import { badSetting, flag, list, oneOf, text, type Environment } from "./environment.ts";
import { poolSettings, type DefaultPool } from "./pools.ts";

export type Backend = "bird" | "vxlan" | "none";
const BACKENDS: Readonly<Record<string, Backend>> = { bird: "bird", vxlan: "vxlan", none: "none" };

/** Where the node's address of one family comes from. */
export type AddressSetting =
  /** `always`: also when an address is stored. */
  | { readonly kind: "autodetect"; readonly method: Method; readonly always: boolean }
  /** Without prefix length: that of the interface which has the address. */
  | { readonly kind: "explicit"; readonly ip: Ip; readonly prefixLen: number | undefined }
  | { readonly kind: "keep" };

export interface NodeSettings {
  readonly name: string;
  readonly nodenameFile: string;
  readonly backend: Backend;
  readonly addresses: Readonly<Record<IpFamily, AddressSetting>>;
  readonly checkConflicts: boolean;
  readonly asNumber: number | undefined;
  readonly kubernetesNode: string | undefined;
  readonly clusterTypes: readonly string[];
  readonly pools: readonly DefaultPool[];
  readonly waitForDatastore: boolean;
  /** Between looks at the host's addresses. */
  readonly pollIntervalMs: number;
}

const DEFAULT_NODENAME_FILE = "/var/lib/calico/nodename";
const DEFAULT_POLL_INTERVAL = "60s";

/** Throws `bad-setting`. */
export function nodeSettings(env: Environment): NodeSettings {
  return {
    name: nodeNameFrom(env),
    nodenameFile: text(env, "CALICO_NODENAME_FILE") ?? DEFAULT_NODENAME_FILE,
    backend: oneOf(env, "CALICO_NETWORKING_BACKEND", BACKENDS, "bird"),
    addresses: { 4: addressSetting(env, 4), 6: addressSetting(env, 6) },
    checkConflicts: !flag(env, "DISABLE_NODE_IP_CHECK", false),
    asNumber: asNumberFrom(env),
    kubernetesNode: text(env, "CALICO_K8S_NODE_REF"),
    clusterTypes: list(text(env, "CLUSTER_TYPE") ?? ""),
    pools: poolSettings(env),
    waitForDatastore: flag(env, "WAIT_FOR_DATASTORE", false),
    pollIntervalMs: pollIntervalFrom(env),
  };
}

/** IPv4 is looked for when nothing is said and nothing is stored; IPv6 only when asked for. */
function addressSetting(env: Environment, family: IpFamily): AddressSetting {
  const name = family === 4 ? "IP" : "IP6";
  const given = text(env, name);
  if (given === "none" || (given === undefined && family === 6)) return { kind: "keep" };
  const methodName = `${name}_AUTODETECTION_METHOD`;
  if (given === undefined || given === "autodetect") {
    const method = parseMethod(methodName, text(env, methodName) ?? "first-found", family);
    return { kind: "autodetect", method, always: given !== undefined };
  }
  const network = tryParseIpInNetwork(given);
  const ip = network?.ip ?? tryParseIp(given);
  if (ip?.family === family) return { kind: "explicit", ip, prefixLen: network?.cidr.prefixLen };
  const example = family === 4 ? "10.0.0.11 or 10.0.0.11/24" : "fd00::11 or fd00::11/64";
  throw badSetting(name, given, `autodetect, none, or an IPv${family} address such as ${example}`);
}

/** Plain, or two 16-bit halves as in RFC 5396 (`asdot`). */
function asNumberFrom(env: Environment): number | undefined {
  const given = text(env, "AS");
  if (given === undefined) return undefined;
  const allowed = "a number from 0 to 4294967295, or two halves such as 1.10";
  const match = /^(\d{1,10})(?:\.(\d{1,5}))?$/.exec(given);
  const [high, low] = [Number(match?.[1]), match?.[2] === undefined ? undefined : Number(match[2])];
  const value = low === undefined ? high : high * 65_536 + low;
  const halvesFit = low === undefined || (high <= 65_535 && low <= 65_535);
  if (match === null || !halvesFit || value > 4_294_967_295) throw badSetting("AS", given, allowed);
  return value;
}

function pollIntervalFrom(env: Environment): number {
  const given = text(env, "AUTODETECT_POLL_INTERVAL") ?? DEFAULT_POLL_INTERVAL;
  const nanoseconds = parseDuration(given);
  const ms = nanoseconds === undefined ? 0 : Number(nanoseconds / 1_000_000n);
  if (ms > 0) return ms;
  throw badSetting("AUTODETECT_POLL_INTERVAL", given, "a duration above 0 such as 30s or 5m");
}
