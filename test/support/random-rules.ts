/**
 * Random v3 rules and selectors: valid, over few labels, addresses and ports, so that they match
 * often. Every field that a workload's rule may have occurs, except HTTP (not enforced by packet
 * filters) and services (they need Kubernetes).
 */
import type { RandomSource } from "./random-source.ts";

export type Json = Record<string, unknown>;

export const NAMESPACES = ["shop", "ops"] as const;
export const SERVICE_ACCOUNTS = ["sa1", "sa2"] as const;
const LABELS = ["app", "env", "role", "zone"] as const;
const LABEL_VALUES = ["a", "b", "web", "db", "prod"] as const;
export const NAMED_PORTS = ["http", "dns", "alt"] as const;
/** Numeric ports of flows; the ranges of rules are around them. */
export const PORTS = [22, 53, 60, 80, 443, 5432, 8000, 8001, 8002, 8003, 9999] as const;

const NETS: Readonly<Record<4 | 6, readonly string[]>> = {
  4: [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.11/32",
    "10.65.0.0/16",
    "10.65.0.16/31",
    "10.65.0.18/32",
    "10.65.0.17/32",
    "192.0.2.0/24",
    "198.51.100.7/32",
    "203.0.113.64/26",
  ],
  6: [
    "fd66::/48",
    "fd66::16/127",
    "fd66::18/128",
    "fd66::17/128",
    "2001:db8::/32",
    "2001:db8:9::/64",
    "2001:db8:1::5/128",
  ],
};
const EVERYTHING: Readonly<Record<4 | 6, string>> = { 4: "0.0.0.0/0", 6: "::/0" };

const NAMED_PROTOCOLS = ["TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite"];
/** Weighted; the numbers are those of ICMP, TCP, UDP, GRE, ICMPv6 and SCTP. */
const PROTOCOLS = [...NAMED_PROTOCOLS, 1, 6, 17, 47, 58, 132];
const PROTOCOLS_WITH_PORTS: readonly unknown[] = ["TCP", "UDP", "SCTP", 6, 17, 132];

export function randomLabels(random: RandomSource): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const label of LABELS) if (random.chance(0.6)) labels[label] = random.pick(LABEL_VALUES);
  return labels;
}

export function randomNets(random: RandomSource, families: readonly (4 | 6)[]): string[] {
  const nets = new Set<string>();
  for (let i = random.int(1, 4); i > 0; i--) nets.add(random.pick(NETS[random.pick(families)]));
  if (random.chance(0.05)) nets.add(EVERYTHING[random.pick(families)]);
  return [...nets];
}

export function randomSelector(random: RandomSource, depth = 2): string {
  const kind = depth === 0 ? 0 : random.int(0, 9);
  if (kind >= 8) {
    const operator = random.pick(["&&", "||"]);
    const left = randomSelector(random, depth - 1);
    const right = randomSelector(random, depth - 1);
    const both = `${left} ${operator} ${right}`;
    return operator === "||" || random.chance(0.3) ? `(${both})` : both;
  }
  if (kind === 7) return `!(${randomSelector(random, depth - 1)})`;
  return labelTest(random);
}

function labelTest(random: RandomSource): string {
  const label = random.pick(LABELS);
  const value = random.pick(LABEL_VALUES);
  const part = value.charAt(0);
  const values = (): string =>
    random
      .some(LABEL_VALUES, 1, 3)
      .map((each) => `'${each}'`)
      .join(", ");
  switch (random.int(0, 10)) {
    case 0:
      return "all()";
    case 1:
      return `has(${label})`;
    case 2:
      return `!has(${label})`;
    case 3:
      return `${label} != '${value}'`;
    case 4:
      return `${label} in {${values()}}`;
    case 5:
      return `${label} not in {${values()}}`;
    case 6:
      return `${label} contains '${part}'`;
    case 7:
      return `${label} starts with '${part}'`;
    case 8:
      return `${label} ends with '${value.slice(-1)}'`;
    default:
      return `${label} == "${value}"`;
  }
}

export function randomNamespaceSelector(random: RandomSource): string {
  return random.pick([
    "all()",
    `projectcalico.org/name == '${random.pick(NAMESPACES)}'`,
    "team == 'x'",
    "!has(team)",
  ]);
}

export function randomServiceAccountSelector(random: RandomSource): string {
  return random.pick(["all()", "kind == 'robot'", "projectcalico.org/name == 'sa1'"]);
}

export function randomRules(random: RandomSource): Json[] {
  return Array.from({ length: random.int(0, 4) }, () => randomRule(random));
}

function randomRule(random: RandomSource): Json {
  const protocol = random.chance(0.7) ? random.pick(PROTOCOLS) : undefined;
  const notProtocol =
    protocol === undefined && random.chance(0.1) ? random.pick(PROTOCOLS) : undefined;
  const family = familyOf(random, protocol ?? notProtocol);
  const withPorts = PROTOCOLS_WITH_PORTS.includes(protocol);
  const source = randomEntity(random, family, withPorts, protocol === undefined);
  const destination = randomEntity(random, family, withPorts, protocol === undefined);
  const isIcmp = ["ICMP", "ICMPv6", 1, 58].includes(protocol ?? "");
  return {
    action: random.pick(["Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log"]),
    ...(protocol === undefined ? {} : { protocol }),
    ...(notProtocol === undefined ? {} : { notProtocol }),
    ...random.maybe(0.15, "ipVersion", () => family),
    ...random.maybe(isIcmp ? 0.5 : 0, "icmp", () => randomIcmp(random, family)),
    ...random.maybe(isIcmp ? 0.4 : 0, "notICMP", () => randomIcmp(random, family)),
    ...(Object.keys(source).length > 0 ? { source } : {}),
    ...(Object.keys(destination).length > 0 ? { destination } : {}),
    ...random.maybe(0.1, "metadata", () => ({ annotations: { note: `n${random.int(0, 9)}` } })),
  };
}

/** The blocks of one rule are of one family; an ICMP rule's family is that of its protocol. */
function familyOf(random: RandomSource, protocol: string | number | undefined): 4 | 6 {
  if (protocol === "ICMP" || protocol === 1) return 4;
  return protocol === "ICMPv6" || protocol === 58 || random.chance(0.3) ? 6 : 4;
}

function randomIcmp(random: RandomSource, family: 4 | 6): Json {
  const type = random.pick(family === 4 ? [8, 8, 13, 15] : [128, 128, 139, 100]);
  return { type, ...random.maybe(0.4, "code", () => random.int(0, 1)) };
}

/** `anyProtocol`: named ports may stand without a protocol, numbers may not. */
function randomEntity(
  random: RandomSource,
  family: 4 | 6,
  withPorts: boolean,
  anyProtocol: boolean,
): Json {
  const ports = (): unknown[] => randomPorts(random, withPorts);
  const mayHavePorts = withPorts || (anyProtocol && random.chance(0.2));
  return {
    ...random.maybe(0.25, "nets", () => randomNets(random, [family])),
    ...random.maybe(0.15, "notNets", () => random.some(NETS[family], 1, 2)),
    ...random.maybe(0.35, "selector", () => randomSelector(random)),
    ...random.maybe(0.15, "notSelector", () => randomSelector(random, 1)),
    ...random.maybe(0.2, "namespaceSelector", () =>
      random.chance(0.25) ? "global()" : randomNamespaceSelector(random),
    ),
    ...random.maybe(0.1, "serviceAccounts", () => randomServiceAccounts(random)),
    ...random.maybe(mayHavePorts ? 0.4 : 0, "ports", ports),
    ...random.maybe(mayHavePorts ? 0.15 : 0, "notPorts", ports),
  };
}

function randomServiceAccounts(random: RandomSource): Json {
  const names = (): string[] => random.some(SERVICE_ACCOUNTS, 1, 2);
  const selector = (): string => randomServiceAccountSelector(random);
  if (random.chance(0.2)) return { names: names(), selector: selector() };
  return random.chance(0.5) ? { names: names() } : { selector: selector() };
}

function randomPorts(random: RandomSource, numeric: boolean): unknown[] {
  const count = random.chance(0.05) ? 20 : random.int(1, 4);
  const ports = Array.from({ length: count }, () => {
    if (!numeric || random.chance(0.3)) return random.pick(NAMED_PORTS);
    if (random.chance(0.25)) return random.pick(["50:90", "8000:8002", "1:65535", "440:443"]);
    return random.pick(PORTS);
  });
  return [...new Set(ports)];
}
