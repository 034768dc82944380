/** `margay node status`: this node's BGP sessions, as calicoctl draws them, and its services; or all nodes. */
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { bgpSessions, type Session } from "#confd";
import { messageOf } from "#std";
import { nodesTable, readAllNodes } from "./all-nodes.ts";
import { peerKindOf } from "./bird-status.ts";
import { directoryOption } from "./directories.ts";
import { readServices, serviceTable } from "./service-table.ts";

interface FamilyStatus {
  /** Undefined: it runs. */
  readonly problem?: string;
  readonly peers: readonly Peer[];
}

interface Peer {
  readonly address: string;
  readonly type: string;
  readonly state: string;
  readonly since: string;
  readonly info: string;
}

const FAMILIES = [
  ["IPv4", "bird.ctl"],
  ["IPv6", "bird6.ctl"],
] as const;

interface Flags {
  readonly allNodes?: boolean;
  readonly config?: string;
  readonly output: string;
  readonly runDir: string;
  readonly serviceDir: string;
}

/** Resolves with the exit code: 1 when something is not as it should be. */
export async function statusCommand(argv: readonly string[]): Promise<number> {
  const command = new Command("margay node status")
    .description("The BGP sessions of this node, one table a family, and its services")
    .option("--all-nodes", "instead: which nodes of the cluster live, as the datastore knows")
    .option("-c, --config <file>", "with --all-nodes: CalicoAPIConfig file of the datastore")
    .addOption(directoryOption("run"))
    .addOption(directoryOption("service"))
    .option("-o, --output <format>", "text or json", "text")
    .addHelpText(
      "after",
      "\nExit code: 0; 1 when no BIRD and no service runs, a service is not up, or a node is dead.",
    )
    .allowExcessArguments(false)
    .exitOverride();
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const flags = command.opts<Flags>();
  return flags.allNodes === true ? await showAllNodes(flags) : await showThisNode(flags);
}

async function showThisNode({ output, runDir, serviceDir }: Flags): Promise<number> {
  const services = readServices(serviceDir);
  const found: Record<string, FamilyStatus> = {};
  for (const [family, socket] of FAMILIES) found[family] = await familyStatus(join(runDir, socket));
  const running =
    Object.values(found).some(({ problem }) => problem === undefined) ||
    services.some(({ state }) => state === "run");
  if (output === "json") {
    process.stdout.write(`${JSON.stringify({ ...found, services }, undefined, 2)}\n`);
  } else {
    process.stdout.write(textOf(found, running));
    if (services.length > 0) process.stdout.write(serviceTable(services, Date.now()));
  }
  return running && services.every(({ state }) => state === "run") ? 0 : 1;
}

async function showAllNodes({ config, output }: Flags): Promise<number> {
  const { connect } = await import("#ctl");
  const client = await connect(config);
  try {
    const nodes = await readAllNodes(client, process.env["FELIX_OPENSTACKREGION"] ?? "");
    if (output === "json") process.stdout.write(`${JSON.stringify(nodes, undefined, 2)}\n`);
    else process.stdout.write(nodesTable(nodes));
    return nodes.some(({ agent }) => agent === "dead") ? 1 : 0;
  } finally {
    await client.store.close();
  }
}

async function familyStatus(socketPath: string): Promise<FamilyStatus> {
  try {
    return { peers: (await bgpSessions(socketPath)).map(peerOf) };
  } catch (error) {
    return { problem: messageOf(error), peers: [] };
  }
}

function peerOf({ name, neighbor, state, since, info }: Session): Peer {
  return { address: neighbor, type: peerKindOf(name), state, since, info };
}

function textOf(found: Readonly<Record<string, FamilyStatus>>, running: boolean): string {
  const parts = [`Calico process is ${running ? "" : "not "}running.\n`];
  for (const [family, { problem, peers }] of Object.entries(found)) {
    parts.push(`${family} BGP status`);
    if (problem !== undefined) parts.push(`${problem}\n`);
    else if (peers.length === 0) parts.push(`No ${family} peers found.\n`);
    else parts.push(boxed(peers));
  }
  return `${parts.join("\n")}\n`;
}

const HEADS = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"] as const;

/** Heads stand in the middle, cells to the left. */
function boxed(peers: readonly Peer[]): string {
  const rows = peers.map((peer) => [peer.address, peer.type, peer.state, peer.since, peer.info]);
  const widths = HEADS.map((head, index) =>
    Math.max(head.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const draw = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const centre = (text: string, width: number): string =>
    text.padStart(text.length + Math.floor((width - text.length) / 2)).padEnd(width);
  const heads = draw(HEADS.map((head, index) => centre(head, widths[index] ?? 0)));
  const body = rows.map((row) => draw(row.map((cell, index) => cell.padEnd(widths[index] ?? 0))));
  return [line, heads, line, ...body, line, ""].join("\n");
}
