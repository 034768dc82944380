/** BGPFilters as functions of BIRD 2's filter language (BIRD user's guide, chapter 5). */
import { base64Url, sha256, unreachable } from "#std";
import type { Community, Filter, FilterChain, FilterMatch, FilterOperation } from "./types.ts";

/** Priorities travel as local preference: the lower the metric, the higher the preference. */
export const PRIORITY_BASE = 2_147_483_647;
/** Preferences above are priorities; below are those of ordinary networks. */
export const PRIORITY_FLOOR = 1_048_576;

/** 64 (BIRD's longest symbol) less what stands around the name. */
const NAME_LENGTH = 45;

/** A quoted symbol; a name that is long or not plain is shown by a hash. */
export function filterFunction(
  name: string,
  direction: "import" | "export",
  family: 4 | 6,
): string {
  const plain = /^[a-z0-9][a-z0-9.-]*$/.test(name) && name.length <= NAME_LENGTH;
  const safe = name.replaceAll(/[^a-z0-9.-]/g, "-");
  const hash = base64Url(sha256(name))
    .replaceAll(/[^A-Za-z0-9]/g, "")
    .slice(0, 16);
  const short = plain ? name : `${safe.slice(0, NAME_LENGTH - 17)}.${hash}`;
  return `'bgp_${short}_${direction}FilterV${family}'`;
}

export function filterText(filter: Filter, family: 4 | 6, normalPriority: number): string[] {
  return (["import", "export"] as const).flatMap((direction) => [
    `function ${filterFunction(filter.name, direction, family)}(bool is_internal)`,
    "{",
    ...chainText(filter[direction], direction, normalPriority),
    "}",
    "",
  ]);
}

function chainText(chain: FilterChain, direction: "import" | "export", normal: number): string[] {
  if ("fault" in chain) return ["  reject; # it cannot be done as written"];
  return chain.rules.flatMap(({ match, action, operations }) => {
    const verdict = action === "Accept" ? "accept;" : "reject;";
    const statements = [...(action === "Accept" ? operations.flatMap(operationText) : []), verdict];
    const conditions = conditionsOf(match, direction, normal);
    const test = conditions.length === 0 ? "true" : conditions.join(" && ");
    return [`  if ${test} then {`, ...statements.map((one) => `    ${one}`), "  }"];
  });
}

function conditionsOf(match: FilterMatch, direction: string, normal: number): string[] {
  const conditions: string[] = [];
  if (match.cidr !== undefined) conditions.push(cidrCondition(match.cidr));
  if (match.fromPeers === true) conditions.push("(source = RTS_BGP)");
  if (match.interface !== undefined) conditions.push(`(ifname ~ "${match.interface}")`);
  if (match.internal !== undefined)
    conditions.push(match.internal ? "is_internal" : "!is_internal");
  if (match.community !== undefined) {
    conditions.push(`(${communityText(match.community)} ~ ${attributeOf(match.community)})`);
  }
  if (match.asPathPrefix !== undefined) {
    conditions.push(`(bgp_path ~ [= ${match.asPathPrefix.join(" ")} * =])`);
  }
  if (match.priority !== undefined) {
    conditions.push(priorityCondition(match.priority, direction, normal));
  }
  return conditions;
}

function cidrCondition({ operator, cidr, lengths }: NonNullable<FilterMatch["cidr"]>): string {
  const negated = operator === "NotEqual" || operator === "NotIn";
  const equal = operator === "Equal" || operator === "NotEqual";
  if (lengths === undefined) {
    const sign = equal ? (negated ? "!=" : "=") : negated ? "!~" : "~";
    return `(net ${sign} ${cidr})`;
  }
  const { min, max } = lengths;
  // No prefix has such a length; BIRD refuses an empty range.
  if (min > max) return negated ? "true" : "false";
  if (equal) {
    const whole = `(net = ${cidr} && net.len >= ${min} && net.len <= ${max})`;
    return negated ? `!${whole}` : whole;
  }
  return `(net ${negated ? "!~" : "~"} [ ${cidr}{${min},${max}} ])`;
}

/** A route's own metric, else what BGP carries, else the normal one. */
function priorityCondition(priority: number, direction: string, normal: number): string {
  const carried = `(bgp_local_pref = ${PRIORITY_BASE - priority})`;
  const parts = [`(defined(bgp_local_pref) && ${carried})`];
  if (direction === "export") parts.push(`(defined(krt_metric) && krt_metric = ${priority})`);
  if (priority === normal) {
    const own = direction === "export" ? "!defined(krt_metric) && " : "";
    parts.push(`(${own}(!defined(bgp_local_pref) || bgp_local_pref <= ${PRIORITY_FLOOR}))`);
  }
  return `(${parts.join(" || ")})`;
}

function operationText(operation: FilterOperation): string[] {
  switch (operation.kind) {
    case "add-community":
      return [addCommunity(operation.community)];
    case "prepend-as-path":
      return operation.path.toReversed().map((as) => `bgp_path.prepend(${as});`);
    case "set-priority":
      return [`bgp_local_pref = ${PRIORITY_BASE - operation.priority};`];
    default:
      return unreachable(operation);
  }
}

export function addCommunity(community: Community): string {
  return `${attributeOf(community)}.add(${communityText(community)});`;
}

function communityText(community: Community): string {
  return `(${community.join(",")})`;
}

function attributeOf(community: Community): string {
  return community.length === 2 ? "bgp_community" : "bgp_large_community";
}
