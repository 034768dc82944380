/**
 * BGPFilter → rules with every value parsed. What cannot be done exactly as written makes the chain
 * a fault, which lets nothing pass: a filter that is half there would announce too much.
 */
import { formatCidr, tryParseCidr, type IpFamily } from "#ip";
import type { BgpFilter } from "#resource";
import type { Community, Filter, FilterChain, FilterMatch, FilterOperation } from "./types.ts";

type V3Rule = NonNullable<BgpFilter["spec"]["exportV4"]>[number];
type Raw = Readonly<Record<string, unknown>>;

/** Kernel metrics are 1…2³¹−1 here: BGP carries them as 2³¹−1 − local preference. */
export const MAX_PRIORITY = 2_147_483_646;
/** What BIRD's shell patterns can be made of without ending its string. */
const PATTERN = /^[A-Za-z0-9_.:@*?-]{1,64}$/;

export function filterModel(resource: BgpFilter, family: IpFamily): Filter {
  const { spec } = resource;
  return {
    name: resource.metadata.name,
    import: chain(family === 4 ? spec.importV4 : spec.importV6, family),
    export: chain(family === 4 ? spec.exportV4 : spec.exportV6, family),
  };
}

/** Of a peer that names a filter which is not there. */
export function missingFilter(name: string): Filter {
  const fault = { fault: `BGPFilter ${name} does not exist` };
  return { name, import: fault, export: fault };
}

function chain(rules: readonly V3Rule[] | undefined, family: IpFamily): FilterChain {
  try {
    return {
      rules: (rules ?? []).map((rule) => ({
        match: matchOf(rule, family),
        action: rule.action,
        operations: operationsOf(rule.operations),
      })),
    };
  } catch (error) {
    if (error instanceof Unusable) return { fault: error.message };
    throw error;
  }
}

class Unusable extends Error {}

function matchOf(rule: V3Rule, family: IpFamily): FilterMatch {
  const { asPathPrefix, priority, communities, peerType, source } = rule;
  if (rule.interface !== undefined && !PATTERN.test(rule.interface)) {
    throw new Unusable("interface is no plain pattern of a name");
  }
  return {
    ...cidrMatch(rule, family),
    ...(source === undefined ? {} : { fromPeers: true }),
    ...(rule.interface === undefined ? {} : { interface: rule.interface }),
    ...(peerType === undefined ? {} : { internal: peerType === "iBGP" }),
    ...(communities === undefined ? {} : { community: matchedCommunity(communities) }),
    ...(asPathPrefix === undefined || asPathPrefix.length === 0
      ? {}
      : { asPathPrefix: asPathPrefix.map(asNumber) }),
    ...(priority === undefined ? {} : { priority: metric(priority) }),
  };
}

function cidrMatch(rule: V3Rule, family: IpFamily): Pick<FilterMatch, "cidr"> {
  if (rule.cidr === undefined) return {};
  const cidr = tryParseCidr(rule.cidr);
  if (cidr?.family !== family) throw new Unusable(`${rule.cidr} is not of IPv${family}`);
  const { min, max } = rule.prefixLength ?? {};
  const bits = family === 4 ? 32 : 128;
  return {
    cidr: {
      operator: rule.matchOperator ?? "In",
      cidr: formatCidr(cidr),
      prefixLen: cidr.prefixLen,
      ...(rule.prefixLength === undefined
        ? {}
        : { lengths: { min: Math.max(min ?? 0, cidr.prefixLen), max: max ?? bits } }),
    },
  };
}

function matchedCommunity(value: unknown): Community {
  const values = record(value)["values"];
  const [text, ...more] = Array.isArray(values) ? values : [];
  if (typeof text !== "string" || more.length > 0) {
    throw new Unusable("communities.values is not one community");
  }
  return communityOrFail(text);
}

function operationsOf(value: unknown): FilterOperation[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Unusable("operations is no list");
  return value.map((one) => {
    const [[name, given] = ["", undefined], ...more] = Object.entries(record(one));
    if (more.length > 0) throw new Unusable("an operation has more than one field");
    const fields = record(given);
    switch (name) {
      case "addCommunity":
        return { kind: "add-community", community: communityOrFail(fields["value"]) };
      case "prependASPath":
        if (!Array.isArray(fields["prefix"])) throw new Unusable("prependASPath has no prefix");
        return { kind: "prepend-as-path", path: fields["prefix"].map(asNumber) };
      case "setPriority":
        return { kind: "set-priority", priority: metric(fields["value"]) };
      default:
        throw new Unusable(`the operation ${JSON.stringify(name)} is not known`);
    }
  });
}

function communityOrFail(value: unknown): Community {
  const community = typeof value === "string" ? parseCommunity(value) : undefined;
  if (community === undefined) throw new Unusable(`${JSON.stringify(value)} is no community`);
  return community;
}

/** `64512:100` (16 bits each) or `64512:100:1` (32 bits each). */
export function parseCommunity(text: string): Community | undefined {
  if (!/^\d{1,10}(?::\d{1,10}){1,2}$/.test(text)) return undefined;
  const [a = 0, b = 0, c] = text.split(":").map(Number);
  if (c === undefined) return Math.max(a, b) <= 0xff_ff ? [a, b] : undefined;
  return Math.max(a, b, c) <= 0xff_ff_ff_ff ? [a, b, c] : undefined;
}

/** A number, its decimal text, or RFC 5396's `1.10`. */
function asNumber(value: unknown): number {
  const match = /^(?:(\d{1,5})\.)?(\d{1,10})$/.exec(String(value));
  const high = Number(match?.[1] ?? 0);
  const low = Number(match?.[2] ?? Number.NaN);
  const number = high * 65_536 + low;
  const fits = match?.[1] === undefined || (high <= 0xff_ff && low <= 0xff_ff);
  if (fits && number >= 0 && number <= 0xff_ff_ff_ff) return number;
  throw new Unusable(`${JSON.stringify(value)} is no AS number`);
}

function metric(value: unknown): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_PRIORITY) {
    return value;
  }
  throw new Unusable(`${JSON.stringify(value)} is no priority (1–${MAX_PRIORITY})`);
}

function record(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
}
