/**
 * The lab file: one host, its workloads, peers outside, the resources to apply and what is expected
 * of the connectivity matrix. Parsed strictly: an unknown field or a bad value is an error with its
 * position, and nothing is started.
 */
import { readFileSync } from "node:fs";
import { LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { inputError } from "#std";

export interface Listen {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

export interface LabPeer {
  readonly name: string;
  /** CIDR text; the first of a family is what others connect to. */
  readonly addresses: readonly string[];
  readonly listen: readonly Listen[];
}

export interface LabWorkload extends LabPeer {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly profiles: readonly string[];
}

/** `from -> to proto:port`, `*` for any; the last matching line decides, else `default`. */
export interface Expectation {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly family?: 4 | 6;
  readonly allow: boolean;
}

export interface LabSpec {
  readonly name: string;
  readonly host: LabPeer;
  readonly outside: readonly LabPeer[];
  readonly workloads: readonly LabWorkload[];
  readonly resources: readonly unknown[];
  readonly expect?: { readonly default: boolean; readonly lines: readonly Expectation[] };
}

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
const peer = z.strictObject({
  name,
  addresses: z.array(z.string()).min(1),
  listen: z.array(listen).default([]),
});
const workload = peer.extend({
  namespace: name.default("default"),
  labels: z.record(z.string(), z.string()).default({}),
  profiles: z.array(z.string()).optional(),
});
const EXPECTATION = /^\s*(\S+)\s*->\s*(\S+)\s+(\*|(?:tcp|udp):\d{1,5})(?:\s+v([46]))?\s*$/;
const expectation = z
  .string()
  .regex(EXPECTATION, "'FROM -> TO tcp:PORT', with * for any and v4 or v6 at the end");
const labSchema = z.strictObject({
  kind: z.literal("Lab"),
  name,
  host: peer,
  outside: z.array(peer).default([]),
  workloads: z.array(workload).min(1),
  resources: z.array(z.looseObject({ kind: z.string() })).default([]),
  expect: z
    .strictObject({
      default: z.enum(["allow", "deny"]).default("deny"),
      allow: z.array(expectation).default([]),
      deny: z.array(expectation).default([]),
    })
    .optional(),
});

export function readLabSpec(path: string): LabSpec {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw inputError(
      "no-such-file",
      `${path}: cannot be read: give the path of a lab file, e.g. examples/one-host.yaml`,
      {
        cause: error,
      },
    );
  }
  return parseLabSpec(text, path);
}

export function parseLabSpec(text: string, path: string): LabSpec {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const faults = document.errors.map(
    (error) => `${path}:${place(lines, error.pos[0])}: ${error.message.split("\n")[0]}`,
  );
  if (faults.length > 0) throw inputError("bad-lab-file", faults.join("\n"));
  const parsed = labSchema.safeParse(document.toJS());
  if (!parsed.success) {
    const messages = parsed.error.issues.map((issue) => {
      const at = positionOf(document, issue.path);
      return `${path}:${place(lines, at)}: ${issue.path.join(".") || "the document"}: ${issue.message}`;
    });
    throw inputError("bad-lab-file", messages.join("\n"));
  }
  const { expect, ...raw } = parsed.data;
  const spec: LabSpec = {
    name: raw.name,
    host: raw.host,
    outside: raw.outside,
    workloads: raw.workloads.map((w) => ({ ...w, profiles: w.profiles ?? [`kns.${w.namespace}`] })),
    resources: raw.resources,
    ...(expect === undefined
      ? {}
      : {
          expect: {
            default: expect.default === "allow",
            lines: [
              ...expect.allow.map((line) => parseExpectation(line, true)),
              ...expect.deny.map((line) => parseExpectation(line, false)),
            ],
          },
        }),
  };
  checkNames(spec, path);
  return spec;
}

function parseExpectation(line: string, allow: boolean): Expectation {
  const match = EXPECTATION.exec(line);
  const family =
    match?.[4] === undefined ? {} : { family: match[4] === "4" ? (4 as const) : (6 as const) };
  return { from: match?.[1] ?? "", to: match?.[2] ?? "", port: match?.[3] ?? "", allow, ...family };
}

/** Names are namespaces on one machine, so they are unique; expectations name what exists. */
function checkNames(spec: LabSpec, path: string): void {
  const names = [spec.host, ...spec.outside, ...spec.workloads].map((p) => p.name);
  const twice = names.find((n, index) => names.indexOf(n) !== index);
  if (twice !== undefined)
    throw inputError("bad-lab-file", `${path}: two peers are named ${twice}: names must differ`);
  for (const line of spec.expect?.lines ?? []) {
    for (const n of [line.from, line.to]) {
      if (n !== "*" && !names.includes(n)) {
        throw inputError(
          "bad-lab-file",
          `${path}: expect names ${n}, which is not in the file; there are: ${names.join(", ")}`,
        );
      }
    }
  }
}

function positionOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    const range = (node as { range?: [number, number, number] } | undefined)?.range;
    if (range !== undefined) return range[0];
  }
  return 0;
}

function place(lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${line}:${col}`;
}
