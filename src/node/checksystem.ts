/**
 * `margay node checksystem`: tries each thing that a node asks of its kernel, in a network namespace
 * of its own that ends with the process, and looks for the programs that it starts.
 */
import { accessSync, constants } from "node:fs";
import { release } from "node:os";
import { delimiter, join } from "node:path";
import { Command, CommanderError } from "commander";
import { enterNewNetworkNamespace, openNftTable, openRouteKernel } from "#netlink";
import type { ChainHook, Expr, NewLink, NftSet } from "#netlink";
import { messageOf } from "#std";

interface Check {
  readonly feature: string;
  readonly neededFor: string;
  /** A node does not work without. */
  readonly required: boolean;
  /** Throws what is wrong. */
  readonly probe: () => void | Promise<void>;
}

export interface CheckResult {
  readonly feature: string;
  readonly neededFor: string;
  readonly required: boolean;
  readonly ok: boolean;
  /** Why it is not. */
  readonly problem?: string;
}

const MAC_IP: NftSet = { name: "set", key: ["ipv4_addr", "inet_proto", "inet_service"] };
const RANGES: NftSet = { name: "set", key: ["ipv4_addr"], interval: true };
const VERDICTS: NftSet = { name: "set", key: ["ifname"], data: "verdict" };
const MTU = 1400;

const CHECKS: readonly Check[] = [
  required("nf_tables", "policy", () => rule({ type: "counter" })),
  required("nf_tables sets with several fields", "policy on named ports", () => set(MAC_IP)),
  required("nf_tables sets with ranges", "policy on CIDRs", () => set(RANGES)),
  required("nf_tables verdict maps", "policy, host endpoints", () => set(VERDICTS)),
  required("nf_tables reverse path lookup", "anti-spoofing, host endpoints", () =>
    rule({ type: "fib", flags: 1, result: "oif", dreg: 0 }, "prerouting"),
  ),
  required("connection tracking", "answers of allowed connections", () =>
    rule({ type: "ct", key: "state", dreg: 0 }),
  ),
  optional("nf_tables reject", "FELIX_NFTABLESFILTERDENYACTION=Reject", () =>
    rule({ type: "reject", rejectType: "icmpx-unreach", code: 1 }),
  ),
  optional("nf_tables log", "Log rules", () => rule({ type: "log", prefix: "x" })),
  optional("nf_tables rate limits", "limits of Log rules", () =>
    rule({ type: "limit", rate: 1, unitSeconds: 1, burst: 5 }),
  ),
  optional("untracked packets", "doNotTrack policy, VXLAN", () =>
    rule({ type: "notrack" }, "prerouting"),
  ),
  optional("network address translation", "natOutgoing, floating addresses", () =>
    rule({ type: "masq" }, "postrouting", "nat"),
  ),
  optional("VXLAN", "pools with vxlanMode", () =>
    link({
      name: "probe",
      kind: "vxlan",
      mtu: MTU,
      vxlan: { vni: 4096, port: 4789, learning: false, checksum: true },
    }),
  ),
  optional("IPIP", "pools with ipipMode", () => link({ name: "probe", kind: "ipip", mtu: MTU })),
  optional("BIRD 2", "CALICO_NETWORKING_BACKEND=bird (package bird2)", () => program("bird")),
  optional("runsvdir", "the services of margay node (package runit)", () => program("runsvdir")),
];

/** Resolves with the exit code: 1 when something required is missing. */
export async function checkSystemCommand(argv: readonly string[]): Promise<number> {
  const command = new Command("margay node checksystem")
    .description("Tries what a node asks of the kernel, in a network namespace of its own")
    .option("-o, --output <format>", "text or json", "text")
    .addHelpText("after", "\nExit code: 0 a node can run here, 1 something required is missing.")
    .allowExcessArguments(false)
    .exitOverride();
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const results = await checkSystem();
  const json = command.opts<{ output: string }>().output === "json";
  process.stdout.write(json ? `${JSON.stringify(results, undefined, 2)}\n` : textOf(results));
  return results.every(({ ok, required: needed }) => ok || !needed) ? 0 : 1;
}

async function checkSystem(): Promise<CheckResult[]> {
  let reason: string | undefined;
  try {
    enterNewNetworkNamespace();
  } catch (error) {
    reason = `cannot be tried: ${messageOf(error)}; run it as root`;
  }
  const results: CheckResult[] = [];
  for (const { probe, ...check } of CHECKS) {
    const problem = reason ?? (await probeProblem(probe));
    results.push({ ...check, ok: problem === undefined, ...(problem ? { problem } : {}) });
  }
  return results;
}

async function probeProblem(probe: Check["probe"]): Promise<string | undefined> {
  try {
    await probe();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function textOf(results: readonly CheckResult[]): string {
  const width = Math.max(...results.map(({ feature }) => feature.length));
  const lines = results.map(({ feature, ok, required: needed, neededFor, problem }) => {
    const mark = ok ? "ok     " : needed ? "MISSING" : "missing";
    const why = ok ? "" : `: ${problem ?? ""}`;
    return `${mark}  ${feature.padEnd(width)}  ${neededFor}${why}`;
  });
  const missing = results.filter(({ ok, required: needed }) => needed && !ok).length;
  const end =
    missing === 0
      ? "A node can run here."
      : `A node cannot run here: ${missing} of what it needs ${missing === 1 ? "is" : "are"} missing.`;
  return `Linux ${release()}\n\n${lines.join("\n")}\n\n${end}\n`;
}

function required(feature: string, neededFor: string, probe: Check["probe"]): Check {
  return { feature, neededFor, required: true, probe };
}

function optional(feature: string, neededFor: string, probe: Check["probe"]): Check {
  return { feature, neededFor, required: false, probe };
}

async function rule(
  expr: Expr,
  hook: ChainHook = "forward",
  type: "filter" | "nat" = "filter",
): Promise<void> {
  const table = openNftTable({ family: "inet", name: "probe" });
  try {
    const priority = type === "nat" ? 100 : -300;
    table.setChain({
      name: "probe",
      hook: { type, hook, priority, policy: "accept" },
      rules: [{ exprs: [expr] }],
    });
    await table.apply();
    table.removeChain("probe");
    await table.apply();
  } finally {
    table.close();
  }
}

async function set(spec: NftSet): Promise<void> {
  const table = openNftTable({ family: "inet", name: "probe" });
  try {
    table.setSet(spec, []);
    await table.apply();
    table.removeSet(spec.name);
    await table.apply();
  } finally {
    table.close();
  }
}

function link(wanted: NewLink): void {
  const kernel = openRouteKernel();
  try {
    const [refusal] = kernel.write([{ kind: "createLink", link: wanted }]).values();
    if (refusal !== undefined) throw new Error(refusal.text ?? refusal.errno);
    const made = kernel.links().find(({ name }) => name === wanted.name);
    if (made !== undefined) kernel.write([{ kind: "deleteLink", index: made.index }]);
  } finally {
    kernel.close();
  }
}

/** Debian keeps administrators' programs where an ordinary user's PATH does not look. */
function program(name: string): void {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  const found = directories.some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`no program ${name} in PATH`);
}
