/** The pools that a cluster gets when it has none of a family. */
import { randomBytes } from "node:crypto";
import {
  addToIp,
  cidrContainsIp,
  cidrOf,
  formatCidr,
  hostCidr,
  ipFromBytes,
  parseCidr,
  tryParseCidr,
  type Cidr,
  type Ip,
  type IpFamily,
} from "#ip";
import { API_VERSION, type EncapMode, type IPPool } from "#resource";
import { inputError } from "#std";
import { badSetting, flag, oneOf, text, type Environment } from "./environment.ts";

/** A pool to be made; without `cidr` one is chosen. */
export interface DefaultPool {
  readonly family: IpFamily;
  readonly cidr: Cidr | undefined;
  readonly blockSize: number;
  readonly ipipMode: EncapMode;
  readonly vxlanMode: EncapMode;
  readonly natOutgoing: boolean;
  readonly disableBgpExport: boolean;
  readonly nodeSelector: string | undefined;
}

const MODES: Readonly<Record<string, EncapMode>> = {
  never: "Never",
  off: "Never",
  always: "Always",
  crosssubnet: "CrossSubnet",
  "cross-subnet": "CrossSubnet",
};

const NAMES = { 4: "default-ipv4-ippool", 6: "default-ipv6-ippool" } as const;
const BLOCK_SIZES = { 4: { usual: 26, min: 20, max: 32 }, 6: { usual: 122, min: 116, max: 128 } };

/** Throws `bad-setting`. */
export function poolSettings(env: Environment): readonly DefaultPool[] {
  const given = ([4, 6] as const).map((family) => ({
    family,
    cidr: text(env, `CALICO_IPV${family}POOL_CIDR`),
  }));
  if (flag(env, "NO_DEFAULT_POOLS", false)) {
    const set = given.find(({ cidr }) => cidr !== undefined);
    if (set === undefined) return [];
    throw inputError(
      "bad-setting",
      `NO_DEFAULT_POOLS and CALICO_IPV${set.family}POOL_CIDR=${set.cidr ?? ""} contradict each other: remove one`,
    );
  }
  return given.flatMap(({ family, cidr }) => (cidr === "none" ? [] : [pool(env, family, cidr)]));
}

function pool(env: Environment, family: IpFamily, given: string | undefined): DefaultPool {
  const prefix = `CALICO_IPV${family}POOL_`;
  const cidr = given === undefined ? undefined : tryParseCidr(given);
  if (given !== undefined && cidr?.family !== family) {
    throw badSetting(`${prefix}CIDR`, given, `none, or an IPv${family} block`);
  }
  return {
    family,
    cidr,
    blockSize: blockSize(env, family),
    ipipMode: family === 4 ? oneOf(env, `${prefix}IPIP`, MODES, "Never") : "Never",
    vxlanMode: oneOf(env, `${prefix}VXLAN`, MODES, "Never"),
    natOutgoing: flag(env, `${prefix}NAT_OUTGOING`, family === 4),
    disableBgpExport: flag(env, `${prefix}DISABLE_BGP_EXPORT`, false),
    nodeSelector: text(env, `${prefix}NODE_SELECTOR`),
  };
}

function blockSize(env: Environment, family: IpFamily): number {
  const name = `CALICO_IPV${family}POOL_BLOCK_SIZE`;
  const { usual, min, max } = BLOCK_SIZES[family];
  const given = text(env, name) ?? String(usual);
  const size = /^\d{1,3}$/.test(given) ? Number(given) : 0;
  if (size >= min && size <= max) return size;
  throw badSetting(name, given, `a prefix length from ${min} to ${max}`);
}

/** `hostIps`: the pool that is chosen has none of them. */
export function poolObject(wanted: DefaultPool, hostIps: readonly Ip[]): IPPool {
  const cidr = wanted.cidr ?? (wanted.family === 4 ? freeIpv4Block(hostIps) : randomUlaBlock());
  return {
    kind: "IPPool",
    apiVersion: API_VERSION,
    metadata: { name: NAMES[wanted.family] },
    spec: {
      cidr: formatCidr(cidr),
      vxlanMode: wanted.vxlanMode,
      ipipMode: wanted.ipipMode,
      ...(wanted.natOutgoing ? { natOutgoing: true } : {}),
      ...(wanted.disableBgpExport ? { disableBGPExport: true } : {}),
      blockSize: wanted.blockSize,
      nodeSelector: wanted.nodeSelector ?? "all()",
      allowedUses: ["Workload", "Tunnel"],
      assignmentMode: "Automatic",
    },
  };
}

/** 192.168.0.0/16; where the host is in it, the next private block of that size. */
function freeIpv4Block(hostIps: readonly Ip[]): Cidr {
  const preferred = parseCidr("192.168.0.0/16");
  const blocks = [preferred, ...blocksOf("172.16.0.0", 16), ...blocksOf("10.0.0.0", 256)];
  const free = blocks.find(
    (cidr) => !hostIps.some((ip) => ip.family === 4 && cidrContainsIp(cidr, ip)),
  );
  return free ?? preferred;
}

function blocksOf(first: string, count: number): Cidr[] {
  const start = parseCidr(`${first}/16`);
  return Array.from({ length: count }, (_, i) => cidrOf(addToIp(start, i * 65_536) ?? start, 16));
}

/** RFC 4193 §3.2: 40 random bits after fd. */
function randomUlaBlock(): Cidr {
  const bytes = new Uint8Array(16);
  bytes[0] = 0xfd;
  bytes.set(randomBytes(5), 1);
  return cidrOf(hostCidr(ipFromBytes(6, bytes)), 48);
}
