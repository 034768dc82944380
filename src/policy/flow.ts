/** The packet that opens a flow, as policy sees it, and the protocol numbers of policies. */
import { formatIp, parseIp, type Ip, type IpFamily } from "#ip";
import { bug, inputError } from "#std";
import type { Protocol } from "./types.ts";

export type Direction = "ingress" | "egress";

/** First packet of a flow; no connection is known yet. */
export interface Packet {
  readonly family: IpFamily;
  /** IANA protocol number, 0–255. */
  readonly protocol: number;
  readonly src: Ip;
  readonly dst: Ip;
  /** Of TCP, UDP, UDP-Lite and SCTP; absent otherwise. */
  readonly srcPort?: number;
  readonly dstPort?: number;
  /** Of ICMP and ICMPv6; absent otherwise. */
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** `direction` is relative to the endpoint whose policy is asked. */
export interface Flow extends Packet {
  readonly direction: Direction;
}

/** Assigned Internet protocol numbers, under the names that policies may use; and two that have no name there. */
export const PROTOCOLS = {
  icmp: 1,
  ipip: 4,
  tcp: 6,
  udp: 17,
  gre: 47,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
} as const;

const NUMBER_OF_NAME: ReadonlyMap<string, number> = new Map(Object.entries(PROTOCOLS));
/** DCCP (33) too: the set of the kernel's xt_multiport. */
const WITH_PORTS: ReadonlySet<number> = new Set([
  PROTOCOLS.tcp,
  PROTOCOLS.udp,
  33,
  PROTOCOLS.sctp,
  PROTOCOLS.udplite,
]);

export function protocolNumber(protocol: Protocol): number {
  if ("number" in protocol) return protocol.number;
  const number = NUMBER_OF_NAME.get(protocol.name);
  if (number === undefined) throw bug("unknown protocol name", { name: protocol.name });
  return number;
}

/** Name where there is one, else the number as text. */
export function protocolText(number: number): string {
  for (const [name, known] of NUMBER_OF_NAME) if (known === number) return name;
  return String(number);
}

export function hasPorts(protocol: number): boolean {
  return WITH_PORTS.has(protocol);
}

/** `icmp` in either family is number 1; what the ICMP fields of a rule match is the family's own. */
export function icmpProtocol(family: IpFamily): number {
  return family === 4 ? PROTOCOLS.icmp : PROTOCOLS.icmpv6;
}

export interface PacketText {
  readonly src: string;
  readonly dst: string;
  /** Name or number. */
  readonly protocol: string | number;
  readonly srcPort?: number;
  readonly dstPort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** From texts, at the edge. Throws input errors. */
export function parsePacket(text: PacketText): Packet {
  const { src: srcText, dst: dstText, protocol: protocolInput, ...rest } = text;
  const src = parseIp(srcText);
  const dst = parseIp(dstText);
  if (src.family !== dst.family) {
    throw inputError("bad-packet", `${srcText} and ${dstText} are of different IP versions`);
  }
  return { family: src.family, protocol: parseProtocol(protocolInput), src, dst, ...rest };
}

/** One line, e.g. `tcp 10.0.0.1:40000 → 10.0.0.2:80`. */
export function describePacket(packet: Packet): string {
  const at = (ip: Ip, port: number | undefined): string => {
    if (port === undefined) return formatIp(ip);
    return ip.family === 4 ? `${formatIp(ip)}:${port}` : `[${formatIp(ip)}]:${port}`;
  };
  const type = packet.icmpType === undefined ? "" : ` type ${packet.icmpType}`;
  const code = packet.icmpCode === undefined ? "" : ` code ${packet.icmpCode}`;
  const source = at(packet.src, packet.srcPort);
  return `${protocolText(packet.protocol)}${type}${code} ${source} → ${at(packet.dst, packet.dstPort)}`;
}

function parseProtocol(input: string | number): number {
  const number =
    typeof input === "number"
      ? input
      : (NUMBER_OF_NAME.get(input.toLowerCase()) ?? Number(input === "" ? Number.NaN : input));
  if (Number.isInteger(number) && number >= 0 && number <= 255) return number;
  throw inputError(
    "bad-packet",
    `${JSON.stringify(input)} is no protocol, expected ${[...NUMBER_OF_NAME.keys()].join(", ")} or 0–255`,
  );
}
