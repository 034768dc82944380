/** Formats of single texts: how each is checked, what to say, the likely fix. */
import {
  canonicalCidr,
  compareIps,
  formatCidr,
  tryParseCidr,
  tryParseCidrOrIp,
  tryParseIp,
  tryParseIpInNetwork,
  tryParseMac,
} from "#ip";
import { parseSelector } from "#selector";
import { messageOf, MargayError } from "#std";
import type { ConstraintId } from "./constraints.ts";
import { parseDuration } from "./scalars.ts";

export interface Format {
  readonly constraint: ConstraintId;
  readonly allowed: string;
  readonly valid: (value: string) => boolean;
  readonly hint?: (value: string) => string | undefined;
  /** Overrides the message "is not valid". */
  readonly explain?: (value: string) => string | undefined;
}

/** As Kubernetes and Calico check it: the whole is limited, its parts are not. */
const LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN = `${LABEL}(?:\\.${LABEL})*`;
export const DNS_LABEL = new RegExp(`^${LABEL}$`);
const DNS_SUBDOMAIN = new RegExp(`^${SUBDOMAIN}$`);
const QUALIFIED_NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

export const FORMATS = {
  selector: {
    constraint: "selector",
    allowed: "a selector such as app == 'web' && has(env)",
    valid: isSelector,
    explain: selectorFault,
    hint: selectorHint,
  },
  cidr: {
    constraint: "cidr",
    allowed: "a CIDR block such as 10.0.0.0/8 or fd00::/8",
    valid: (value) => tryParseCidr(value) !== undefined,
    hint: cidrHint,
  },
  "masked-cidr": {
    constraint: "cidr-masked",
    allowed: "a CIDR block without bits beyond its prefix, such as 10.0.0.0/8",
    valid: (value) => tryParseCidr(value) !== undefined && isMasked(value),
    explain: (value) =>
      isMasked(value)
        ? `${JSON.stringify(value)} is no CIDR block`
        : `${JSON.stringify(value)} has bits beyond its prefix`,
    hint: (value) =>
      isMasked(value) ? cidrHint(value) : `did you mean ${maskedCidr(value) ?? value}?`,
  },
  /** Calico also takes a bare address where it takes a block. */
  "cidr-or-ip": {
    constraint: "ip-or-cidr",
    allowed: "an address or a CIDR block such as 192.0.2.7 or 10.0.0.0/8",
    valid: (value) => tryParseCidrOrIp(value) !== undefined,
    hint: cidrHint,
  },
  "cidr4-or-ip4": {
    constraint: "ip-or-cidr",
    allowed: "an IPv4 address or CIDR block such as 192.0.2.7 or 10.0.0.0/8",
    valid: (value) => tryParseCidrOrIp(value)?.family === 4,
  },
  "interface-cidr": {
    constraint: "interface-cidr",
    allowed: "an interface address with its prefix length, such as 10.0.0.11/24",
    valid: (value) => tryParseIpInNetwork(value) !== undefined || tryParseIp(value) !== undefined,
  },
  "interface-cidr4": {
    constraint: "interface-cidr",
    allowed: "an IPv4 address with its prefix length, such as 10.0.0.11/24",
    valid: (value) => familyOfInterface(value) === 4,
  },
  "interface-cidr6": {
    constraint: "interface-cidr",
    allowed: "an IPv6 address with its prefix length, such as 2001:db8::11/64",
    valid: (value) => familyOfInterface(value) === 6,
  },
  "interface-pattern": {
    constraint: "interface-name",
    allowed: "1–15 letters, digits, _ . - and *, which stands for any text",
    valid: (value) => /^[a-zA-Z0-9_.*-]{1,15}$/.test(value),
  },
  "ignored-interface": {
    constraint: "interface-name",
    allowed: "1–15 letters, digits, _ . - and *, which stands for any text, but not * alone",
    valid: (value) => /^[a-zA-Z0-9_.*-]{1,15}$/.test(value) && value !== "*",
  },
  ip: {
    constraint: "ip",
    allowed: "an address such as 192.0.2.7 or 2001:db8::7",
    valid: (value) => tryParseIp(value) !== undefined,
    hint: (value) =>
      tryParseCidr(value) === undefined ? undefined : "leave out the prefix length",
  },
  ipv4: {
    constraint: "ip",
    allowed: "an IPv4 address such as 192.0.2.7",
    valid: (value) => tryParseIp(value)?.family === 4,
  },
  ipv6: {
    constraint: "ip",
    allowed: "an IPv6 address such as 2001:db8::7",
    valid: (value) => tryParseIp(value)?.family === 6,
  },
  mac: {
    constraint: "mac",
    allowed: "a MAC address such as ca:fe:1d:52:bb:e9",
    valid: (value) => tryParseMac(value) !== undefined,
  },
  "interface-name": {
    constraint: "interface-name",
    allowed: "1–15 letters, digits, _ . -",
    valid: (value) => /^[a-zA-Z0-9_.-]{1,15}$/.test(value),
  },
  "interface-or-star": {
    constraint: "interface-name",
    allowed: "1–15 letters, digits, _ . -, or * for every interface",
    valid: (value) => /^(?:[a-zA-Z0-9_.-]{1,15}|\*)$/.test(value),
  },
  "port-name": {
    constraint: "port-name",
    allowed: "1–128 letters, digits, _ . -",
    valid: (value) => /^[a-zA-Z0-9_.-]{1,128}$/.test(value),
  },
  /** As Kubernetes has it (IsValidPortName), stricter than what a rule may name. */
  "endpoint-port-name": {
    constraint: "port-name",
    allowed: "1–15 lower-case letters, digits and single - between them, with a letter",
    valid: (value) =>
      /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(value) && /[a-z]/.test(value) && value.length <= 15,
    hint: (value) => (/[A-Z]/.test(value) ? `did you mean ${value.toLowerCase()}?` : undefined),
  },
  "container-id": {
    constraint: "container-id",
    allowed: "letters, digits and - between them",
    valid: (value) => /^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/.test(value),
  },
  "label-key": {
    constraint: "label-key",
    allowed: "[prefix/]name of letters, digits, - _ .",
    valid: isLabelKey,
  },
  name: {
    constraint: "name",
    allowed: "lower-case letters, digits, - and . (a DNS name)",
    valid: (value) => value.length <= 253 && DNS_SUBDOMAIN.test(value),
    hint: nameHint,
  },
  "dns-label": {
    constraint: "name",
    allowed: "at most 46 lower-case letters, digits and -",
    valid: (value) => value.length <= 46 && DNS_LABEL.test(value),
  },
  "duration-or-auto": {
    constraint: "duration",
    allowed: "a duration such as 90s, or Auto",
    valid: (value) => value === "Auto" || parseDuration(value) !== undefined,
  },
  "listen-host": {
    constraint: "listen-host",
    allowed: "an address or a host name of at most 64 characters",
    valid: (value) => /^[a-zA-Z0-9:._+-]{1,64}$/.test(value),
  },
  "interface-filter": {
    constraint: "interface-name",
    allowed: "1–15 letters, digits, : . _ + -",
    valid: (value) => /^[a-zA-Z0-9:._+-]{1,15}$/.test(value),
  },
  regexp: {
    constraint: "regexp",
    allowed: "a regular expression",
    valid: isRegexp,
  },
  "http-path": {
    constraint: "http-path",
    allowed: "a path that begins with / and has no ? or #",
    valid: (value) => value.startsWith("/") && !/[?#]/.test(value),
  },
  "http-path-text": {
    constraint: "http-path",
    allowed: "a path without blanks",
    valid: (value) => !value.includes(" "),
  },
  "key-values": {
    constraint: "key-values",
    allowed: "name=value,name=value",
    valid: (value) => /^(?:[a-zA-Z0-9-_]+=[^=]*,)*(?:[a-zA-Z0-9-_]+=[^=,]*)?$/.test(value),
  },
  community: {
    constraint: "community",
    allowed: "a community such as 64512:100, or a large one such as 64512:100:1",
    valid: isCommunity,
  },
  "peer-ip": {
    constraint: "peer-ip",
    allowed: "an address, 192.0.2.1:1179 or [2001:db8::1]:1179",
    valid: isPeerIp,
  },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;

/** Kubernetes' rule: `[prefix/]name`, the prefix a DNS name. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf("/");
  if (slash < 0) return QUALIFIED_NAME.test(key);
  const prefix = key.slice(0, slash);
  return (
    prefix.length <= 253 && DNS_SUBDOMAIN.test(prefix) && QUALIFIED_NAME.test(key.slice(slash + 1))
  );
}

export function isLabelValue(value: string): boolean {
  return LABEL_VALUE.test(value);
}

/** The nearest valid name, when lower case and dashes are all that is wrong. */
export function nameHint(value: string): string | undefined {
  const mended = value
    .trim()
    .toLowerCase()
    .replaceAll(/[_\s]+/g, "-");
  return mended !== value && DNS_SUBDOMAIN.test(mended) ? `did you mean ${mended}?` : undefined;
}

/** Bounded: the same few selectors come again with every object. */
const knownSelectors = new Set<string>();

function isSelector(value: string): boolean {
  if (knownSelectors.has(value)) return true;
  if (selectorError(value) !== undefined) return false;
  if (knownSelectors.size >= 4096) knownSelectors.clear();
  knownSelectors.add(value);
  return true;
}

function selectorError(value: string): unknown {
  try {
    parseSelector(value);
    return undefined;
  } catch (error) {
    return error;
  }
}

function selectorFault(value: string): string {
  const error = selectorError(value);
  if (!(error instanceof MargayError)) return messageOf(error);
  const { column, found } = error.fields;
  if (typeof column !== "number" || typeof found !== "string") return error.message;
  const { expected } = error.fields;
  const options = Array.isArray(expected) ? `, expected ${expected.join(" or ")}` : "";
  return `the selector is wrong at column ${column}: found ${found}${options}`;
}

function selectorHint(value: string): string | undefined {
  const error = selectorError(value);
  const fix: unknown = error instanceof MargayError ? error.fields["fix"] : undefined;
  return typeof fix === "string" ? `did you mean ${fix}?` : undefined;
}

function cidrHint(value: string): string | undefined {
  const ip = tryParseIp(value);
  if (ip !== undefined) return `did you mean ${value}/${ip.family === 4 ? 32 : 128}?`;
  const trimmed = value.trim();
  return trimmed !== value && tryParseCidr(trimmed) !== undefined
    ? `did you mean ${canonicalCidr(trimmed)}?`
    : undefined;
}

/** The block without host bits, for the error that refuses them. */
export function maskedCidr(value: string): string | undefined {
  const cidr = tryParseCidr(value);
  return cidr === undefined ? undefined : formatCidr(cidr);
}

function familyOfInterface(value: string): 4 | 6 | undefined {
  return tryParseIpInNetwork(value)?.ip.family ?? tryParseIp(value)?.family;
}

function isMasked(value: string): boolean {
  const parsed = tryParseIpInNetwork(value);
  return parsed === undefined || compareIps(parsed.ip, parsed.cidr) === 0;
}

/** Go's RE2 knows `(?i)` and named groups `(?P<…>)`; JavaScript spells them otherwise. */
function isRegexp(value: string): boolean {
  try {
    void new RegExp(value.replaceAll(/\(\?[a-zA-Z]+\)/g, "").replaceAll("(?P<", "(?<"));
    return true;
  } catch {
    return false;
  }
}

function isCommunity(value: string): boolean {
  const parts = value.split(":");
  if (!parts.every((part) => /^\d{1,10}$/.test(part))) return false;
  const numbers = parts.map(Number);
  if (parts.length === 2) return numbers.every((number) => number <= 0xffff);
  return parts.length === 3 && numbers.every((number) => number <= 0xffffffff);
}

function isPeerIp(value: string): boolean {
  if (tryParseIp(value) !== undefined) return true;
  const match = /^\[([^\]]+)\]:(\d{1,5})$/.exec(value) ?? /^([^:]+):(\d{1,5})$/.exec(value);
  if (match === null) return false;
  const [, address = "", digits = ""] = match;
  const number = Number(digits);
  return tryParseIp(address) !== undefined && number >= 1 && number <= 65535;
}
