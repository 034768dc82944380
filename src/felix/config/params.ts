/**
 * All of Felix's parameters, declared once: the parser, `--print-config`, the documentation and the
 * warnings about what this build does not use are all made from this table.
 */
import type { Param, ParamTable } from "./kinds.ts";
import { BPF_PARAMS } from "./params-bpf.ts";
import { DATASTORE_PARAMS, PROCESS_PARAMS } from "./params-core.ts";
import { INTERFACE_PARAMS, NAT_TUNNEL_PARAMS, POLICY_PARAMS } from "./params-net.ts";

/** In the order of the documentation. */
export const GROUPS: readonly { readonly title: string; readonly params: ParamTable }[] = [
  { title: "Datastore", params: DATASTORE_PARAMS },
  { title: "Process, logs, health and status", params: PROCESS_PARAMS },
  { title: "Interfaces and routes", params: INTERFACE_PARAMS },
  { title: "Policy", params: POLICY_PARAMS },
  { title: "NAT and tunnels", params: NAT_TUNNEL_PARAMS },
  { title: "eBPF", params: BPF_PARAMS },
];

export const PARAMS = {
  ...DATASTORE_PARAMS,
  ...PROCESS_PARAMS,
  ...INTERFACE_PARAMS,
  ...POLICY_PARAMS,
  ...NAT_TUNNEL_PARAMS,
  ...BPF_PARAMS,
} as const;

export type ParamName = keyof typeof PARAMS;

/** The parsed values, typed by the table; durations in milliseconds. */
export type FelixValues = {
  readonly [Name in ParamName]: (typeof PARAMS)[Name] extends Param<infer T> ? T : never;
};

/** Lower-cased name, or FelixConfiguration's field, to the parameter's name. */
const byAnyName = new Map<string, ParamName>();
for (const [name, declared] of Object.entries(PARAMS)) {
  byAnyName.set(name.toLowerCase(), name as ParamName);
  if (declared.v3 !== undefined) byAnyName.set(declared.v3.toLowerCase(), name as ParamName);
}

export function paramNamed(rawName: string): ParamName | undefined {
  return byAnyName.get(rawName.toLowerCase());
}
