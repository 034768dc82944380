/** The lab file's fields, as they are written. */
import { z } from "zod";
import { tryParseCidr, tryParseIp, tryParseIpInNetwork } from "#ip";
import { inputError } from "#std";
import type { Listen } from "./spec.ts";

const name = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/,
    "lower-case letters, digits and '-', at most 32",
  );
const listen = z
  .string()
  .regex(/^(?:tcp|udp):\d{1,5}$/, "tcp:PORT or udp:PORT")
  .transform((text): Listen => {
    const [protocol, port] = text.split(":");
    return { protocol: protocol === "udp" ? "udp" : "tcp", port: Number(port) };
  })
  .refine((value) => value.port >= 1 && value.port <= 65535, "a port is 1 to 65535");

/** Throws `bad-value`. */
export function parseListen(text: string): Listen {
  const parsed = listen.safeParse(text);
  if (parsed.success) return parsed.data;
  throw inputError("bad-value", `${text}: ${parsed.error.issues[0]?.message ?? "no port"}`);
}

const address = z
  .string()
  .refine(
    (text) => tryParseIp(text) !== undefined || tryParseIpInNetwork(text) !== undefined,
    "an address, e.g. 10.0.1.11 or 10.0.1.11/24",
  );
const linkAddress = z
  .string()
  .refine(
    (text) => text.includes("/") && tryParseIpInNetwork(text) !== undefined,
    "an address with its subnet's prefix, e.g. 10.0.1.11/24",
  );
const prefix = z.string().refine((text) => {
  const cidr = tryParseCidr(text);
  return cidr !== undefined && cidr.prefixLen <= (cidr.family === 4 ? 30 : 126);
}, "a prefix with room for an address, e.g. 203.0.113.0/24");
const labels = z.record(z.string(), z.string()).default({});
const asNumber = z.number().int().min(1).max(4_294_967_294);

const UNITS: Readonly<Record<string, number>> = { kbit: 1e3, mbit: 1e6, gbit: 1e9 };
const RATE = /^(\d{1,6})(kbit|mbit|gbit)$/;
/** In bytes a second. */
const rate = z
  .string()
  .regex(RATE, "a number and kbit, mbit or gbit, e.g. 10mbit")
  .transform((text) => {
    const [, count, unit = ""] = RATE.exec(text) ?? [];
    return (Number(count) * (UNITS[unit] ?? 0)) / 8;
  })
  .refine((value) => value > 0, "a rate is more than nothing: to close a link, use 'lab cut'");
const loss = z.number().min(0, "per cent").max(100, "per cent").default(0);

const link = z.strictObject({
  subnet: name,
  addresses: z.array(linkAddress).min(1),
  loss,
  rate: rate.optional(),
});
const peer = { name, listen: z.array(listen).default([]) };
const station = z.strictObject({
  ...peer,
  subnet: name.optional(),
  addresses: z.array(linkAddress).default([]),
  loss,
  rate: rate.optional(),
  links: z.array(link).min(1).optional(),
});
const host = station.extend({
  labels,
  asNumber: asNumber.optional(),
  env: z.record(z.string(), z.string()).default({}),
});
const router = station.extend({
  bgp: z
    .strictObject({
      daemon: z.enum(["frr", "gobgp"]),
      asNumber,
      peerAsNumber: asNumber.default(64_512),
      announces: z.array(prefix).default([]),
    })
    .optional(),
});
const workload = z.strictObject({
  ...peer,
  host: name.optional(),
  addresses: z.union([z.literal("auto"), z.array(address).min(1)]).default("auto"),
  pools: z.array(z.string()).default([]),
  namespace: name.default("default"),
  labels,
  profiles: z.array(z.string()).optional(),
});
export const EXPECTATION = /^\s*(\S+)\s*->\s*(\S+)\s+(\*|(?:tcp|udp):\d{1,5})(?:\s+v([46]))?\s*$/;
const expectation = z
  .string()
  .regex(EXPECTATION, "'FROM -> TO tcp:PORT', with * for any and v4 or v6 at the end");

export const labSchema = z.strictObject({
  kind: z.literal("Lab"),
  name,
  etcd: z.union([z.literal(1), z.literal(3)], "1 or 3 members").optional(),
  subnets: z.array(name).min(1).optional(),
  routers: z.array(router).default([]),
  host: host.optional(),
  hosts: z.array(host).min(1).optional(),
  outside: z.array(station).default([]),
  workloads: z.array(workload).default([]),
  resources: z.array(z.looseObject({ kind: z.string() })).default([]),
  expect: z
    .strictObject({
      default: z.enum(["allow", "deny"]).default("deny"),
      allow: z.array(expectation).default([]),
      deny: z.array(expectation).default([]),
    })
    .optional(),
});

export type StationFields = z.infer<typeof station>;
