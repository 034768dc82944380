/** Kinds of parameters that hold addresses, ports, lists and maps. */
import { existsSync } from "node:fs";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { matching, refuse, seconds, type Kind } from "./kinds.ts";

/** A path; with `mustExist` the file has to be there when the agent starts. */
export function file(options: { readonly mustExist?: boolean } = {}): Kind<string> {
  const schema = options.mustExist === true ? "a path of an existing file" : "a path";
  return {
    schema,
    zero: "",
    parse: (raw) =>
      options.mustExist !== true || raw === "" || existsSync(raw) ? raw : refuse(schema, raw),
    show: (value) => value,
  };
}

function address(schema: string, holds: (raw: string) => boolean): Kind<string> {
  return {
    schema,
    zero: "",
    parse: (raw) => (raw === "" || holds(raw) ? raw : refuse(schema, raw)),
    show: (value) => value,
  };
}
export const ipv4 = address("an IPv4 address", isIPv4);
export const ipv6 = address("an IPv6 address", isIPv6);

/** Comma-separated; blanks around items and empty items are dropped. */
function listOf<T>(
  schema: string,
  parseItem: (item: string) => T,
  showItem: (item: T) => string,
): Kind<readonly T[]> {
  return {
    schema: `a comma-separated list of ${schema}`,
    zero: [],
    parse: (raw) =>
      raw
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== "")
        .map(parseItem),
    show: (items) => items.map(showItem).join(","),
  };
}

const same = (item: string): string => item;

export const cidrList = listOf(
  "IPv4 addresses or CIDRs",
  (item) => {
    const [host = "", prefix, more] = item.split("/");
    const length = prefix === undefined ? 32 : Number(prefix);
    const good =
      isIPv4(host) &&
      more === undefined &&
      (prefix === undefined || /^\d+$/.test(prefix)) &&
      length <= 32;
    return good ? `${host}/${length}` : refuse("an IPv4 address or CIDR", item);
  },
  same,
);

/** `http(s)://host:port` only, all with the same scheme. */
const ENDPOINTS = "a comma-separated list of http(s)://host:port";
export const endpointList: Kind<readonly string[]> = {
  schema: ENDPOINTS,
  zero: [],
  parse(raw) {
    const found: string[] = [];
    let scheme = "";
    for (const item of raw.split(",").map((part) => part.trim())) {
      if (item === "") continue;
      const url = URL.parse(item);
      const plain =
        url !== null &&
        /^https?:$/.test(url.protocol) &&
        url.username === "" &&
        url.password === "" &&
        url.pathname === "/" &&
        url.search === "" &&
        url.hash === "";
      if (!plain || (scheme !== "" && scheme !== url.protocol)) return refuse(ENDPOINTS, raw);
      scheme = url.protocol;
      found.push(item.replace(/\/$/, ""));
    }
    return found;
  },
  show: (items) => items.join(","),
};

export interface ProtoPort {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** CIDR; absent: any. */
  readonly net?: string;
}

const PROTO_PORT = "ports as proto:port, proto:net:port, proto:[v6net]:port or port";

/** Failsafe ports. */
export const portList = listOf(PROTO_PORT, parseProtoPort, showProtoPort);

function parseProtoPort(item: string): ProtoPort {
  const match = /^(?:([a-zA-Z]+):)?(?:(.+):)?(\d{1,5})$/.exec(item);
  if (match === null) return refuse(PROTO_PORT, item);
  const protocol = (match[1] ?? "tcp").toLowerCase();
  const port = Number(match[3]);
  const net = match[2]?.replace(/^\[(.+)\]$/, "$1");
  if ((protocol !== "tcp" && protocol !== "udp") || port > 65_535) return refuse(PROTO_PORT, item);
  if (net === undefined) return { protocol, port };
  const [host = "", prefix] = net.split("/");
  const version = isIP(host);
  const maxLen = version === 4 ? 32 : 128;
  const length = prefix === undefined ? maxLen : Number(prefix);
  if (version === 0 || !(length <= maxLen)) return refuse(PROTO_PORT, item);
  return { protocol, port, net: `${host}/${length}` };
}

function showProtoPort(item: ProtoPort): string {
  if (item.net === undefined) return `${item.protocol}:${item.port}`;
  const net = item.net.includes(":") ? `[${item.net}]` : item.net;
  return `${item.protocol}:${net}:${item.port}`;
}

export interface PortSpan {
  readonly first: number;
  readonly last: number;
}

function parseSpan(item: string): PortSpan {
  const match = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(item);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  return match === null || first > last || last > 65_535
    ? refuse("a port or first:last", item)
    : { first, last };
}
const showSpan = (span: PortSpan): string =>
  span.first === span.last ? String(span.first) : `${span.first}:${span.last}`;

export const portRangeList = listOf("ports or first:last", parseSpan, showSpan);
export const portRange: Kind<PortSpan | undefined> = {
  schema: "a port or first:last",
  zero: undefined,
  parse: (raw) => (raw === "" ? undefined : parseSpan(raw)),
  show: (value) => (value === undefined ? "" : showSpan(value)),
};

export const ifaceFilterList = listOf(
  "interface names or prefix+",
  matching("an interface name or prefix+", /^[a-zA-Z0-9:._+-]{1,15}$/).parse,
  same,
);

/** Exact names, or regular expressions between slashes. */
const IFACE_PATTERNS = "a comma-separated list of interface names or /regular expressions/";
export const ifacePatternList: Kind<readonly RegExp[]> = {
  schema: IFACE_PATTERNS,
  zero: [],
  parse(raw) {
    return raw
      .split(",")
      .filter((item) => item !== "")
      .map((item) => {
        if (/^[a-zA-Z0-9_-]{1,15}$/.test(item)) return new RegExp(`^${item}$`);
        if (item.length < 3 || !item.startsWith("/") || !item.endsWith("/"))
          return refuse(IFACE_PATTERNS, raw);
        try {
          return new RegExp(item.slice(1, -1));
        } catch {
          return refuse(IFACE_PATTERNS, raw);
        }
      });
  },
  show: (items) =>
    items
      .map(({ source }) =>
        /^\^[a-zA-Z0-9_-]+\$$/.test(source) ? source.slice(1, -1) : `/${source}/`,
      )
      .join(","),
};

export interface TableSpan {
  readonly min: number;
  readonly max: number;
}

function parseTables(item: string): TableSpan {
  const match = /^(\d+)-(\d+)$/.exec(item);
  const min = Number(match?.[1]);
  const max = Number(match?.[2]);
  const good =
    match !== null && min >= 1 && max >= min && max <= 0xff_ff_ff_ff && max - min < 0xffff;
  return good ? { min, max } : refuse("first-last of routing tables", item);
}
const showTables = (span: TableSpan): string => `${span.min}-${span.max}`;

export const routeTableRanges = listOf("routing tables, first-last", parseTables, showTables);
const ROUTE_TABLES = "routing tables, first-last within 1-250";
export const routeTableRange: Kind<TableSpan | undefined> = {
  schema: ROUTE_TABLES,
  zero: undefined,
  parse(raw) {
    if (raw === "") return undefined;
    const span = parseTables(raw);
    return span.max > 250 ? refuse(ROUTE_TABLES, raw) : span;
  },
  show: (value) => (value === undefined ? "" : showTables(value)),
};

function pairsOf<T>(
  schema: string,
  parseValue: (raw: string) => T,
  showValue: (value: T) => string,
): Kind<Readonly<Record<string, T>>> {
  return {
    schema,
    zero: {},
    parse: (raw) =>
      Object.fromEntries(
        raw
          .split(",")
          .map((item) => item.trim())
          .filter((item) => item !== "")
          .map((item) => {
            const at = item.indexOf("=");
            if (at < 1) return refuse(schema, raw);
            return [item.slice(0, at).trim(), parseValue(item.slice(at + 1).trim())] as const;
          }),
      ),
    show: (value) =>
      Object.entries(value)
        .map(([key, item]) => `${key}=${showValue(item)}`)
        .join(","),
  };
}

export const keyValues = pairsOf("a comma-separated list of key=value", same, same);
export const keyDurations = pairsOf(
  "a comma-separated list of name=duration",
  seconds.parse,
  (ms) => `${ms / 1000}s`,
);

/** RFC 2474 code point, by number or by the names of RFC 2474, 2597 and 3246. */
export const dscp = matching(
  "a DSCP value (0-63) or name",
  /^(?:[0-9]|[1-5][0-9]|6[0-3]|DF|CS[0-7]|AF[1-4][1-3]|EF|VA|LE)$/i,
);
