/** `margay node status`: the BGP sessions of this node, as calicoctl draws them. */
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { bgpSessions, type Session } from "#confd";
import { messageOf } from "#std";
import { peerKindOf } from "./bird-status.ts";

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

/** Resolves with the exit code: 1 when neither BIRD answers. */
export async function statusCommand(argv: readonly string[]): Promise<number> {
  const command = new Command("margay node status")
    .description("The BGP sessions of this node, one table a family")
    .option("--run-dir <dir>", "where bird.ctl and bird6.ctl are", "/var/run/calico")
    .option("-o, --output <format>", "text or json", "text")
    .addHelpText("after", "\nExit code: 0 a BIRD answers, 1 none does.")
    .allowExcessArguments(false)
    .exitOverride();
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const { runDir, output } = command.opts<{ runDir: string; output: string }>();
  const found: Record<string, FamilyStatus> = {};
  for (const [family, socket] of FAMILIES) found[family] = await familyStatus(join(runDir, socket));
  const running = Object.values(found).some(({ problem }) => problem === undefined);
  if (output === "json") process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
  else process.stdout.write(textOf(found, running));
  return running ? 0 : 1;
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
