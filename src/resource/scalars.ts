/** Go's spellings of durations, ports and protocols, read and written. */

const UNIT_NANOSECONDS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const DURATION = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const DURATION_PART = /(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/g;

/** Nanoseconds of a Go duration (`time.ParseDuration`); undefined when it is none. */
export function parseDuration(text: string): bigint | undefined {
  if (text === "0" || text === "+0" || text === "-0") return 0n;
  if (text === "" || !DURATION.test(text)) return undefined;
  let total = 0n;
  for (const [, whole = "", fraction = "", unit = ""] of text.matchAll(DURATION_PART)) {
    const scale = UNIT_NANOSECONDS[unit] ?? 0n;
    total += BigInt(whole === "" ? "0" : whole) * scale;
    if (fraction !== "") total += (BigInt(fraction) * scale) / 10n ** BigInt(fraction.length);
  }
  if (total > 9_223_372_036_854_775_807n) return undefined;
  return text.startsWith("-") ? -total : total;
}

/** As Go's `Duration.String`: `1m30s`, `5m0s`, `1.5s`, `250ms`, `0s`. */
export function formatDuration(nanoseconds: bigint): string {
  const sign = nanoseconds < 0n ? "-" : "";
  const rest = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  if (rest === 0n) return "0s";
  if (rest < 1_000n) return `${sign}${rest}ns`;
  if (rest < 1_000_000n) return `${sign}${decimal(rest, 1_000n)}µs`;
  if (rest < 1_000_000_000n) return `${sign}${decimal(rest, 1_000_000n)}ms`;
  const seconds = decimal(rest % 60_000_000_000n, 1_000_000_000n);
  const minutes = rest / 60_000_000_000n;
  if (minutes === 0n) return `${sign}${seconds}s`;
  if (minutes < 60n) return `${sign}${minutes}m${seconds}s`;
  return `${sign}${minutes / 60n}h${minutes % 60n}m${seconds}s`;
}

function decimal(value: bigint, scale: bigint): string {
  const whole = value / scale;
  const fraction = value % scale;
  if (fraction === 0n) return `${whole}`;
  const digits = `${fraction}`.padStart(`${scale}`.length - 1, "0").replace(/0+$/, "");
  return `${whole}.${digits}`;
}

export type ParsedPort =
  | { readonly first: number; readonly last: number }
  | { readonly name: string };

/** A v3 port: number, `"80"`, `"8000:8100"` or a name. A fault comes back as the reason. */
export function parsePort(value: number | string): ParsedPort | string {
  if (typeof value === "number") {
    return isPortNumber(value) ? { first: value, last: value } : "a port is 1–65535";
  }
  const range = /^(\d+):(\d+)$/.exec(value);
  if (range !== null) {
    const first = Number(range[1]);
    const last = Number(range[2]);
    if (!isPortNumber(first) || !isPortNumber(last)) return "a port is 1–65535";
    return first <= last ? { first, last } : "the range ends before it begins";
  }
  if (/^\d+$/.test(value)) {
    const number = Number(value);
    return isPortNumber(number) ? { first: number, last: number } : "a port is 1–65535";
  }
  return /^[a-zA-Z0-9_.-]{1,128}$/.test(value)
    ? { name: value }
    : "neither a number, a range nor a name";
}

function isPortNumber(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535;
}

/** The spelling in which Calico stores a port: a number, a range or a name. */
export function canonicalPort(port: ParsedPort): number | string {
  if ("name" in port) return port.name;
  return port.first === port.last ? port.first : `${port.first}:${port.last}`;
}

export const PROTOCOL_NAMES = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"] as const;
const PORT_PROTOCOLS = new Set<unknown>(["TCP", "UDP", "SCTP", 6, 17, 132]);

/** Whether ports mean something; by name or number. */
export function protocolHasPorts(protocol: unknown): boolean {
  return PORT_PROTOCOLS.has(protocol);
}

/** 4 for ICMP, 6 for ICMPv6, undefined for others. */
export function icmpFamily(protocol: unknown): 4 | 6 | undefined {
  if (protocol === "ICMP" || protocol === 1) return 4;
  return protocol === "ICMPv6" || protocol === 58 ? 6 : undefined;
}
