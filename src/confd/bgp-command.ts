/** `margay bgp show|diff|routes`: the model of a node, what a change would do, what BIRD says. */
import { Command, CommanderError, Option } from "commander";
import { bgpModel, birdConfig, type BgpModel, type BgpState } from "#bgp";
import { connect, readManifests } from "#ctl";
import { resourcePath } from "#resource";
import { inputError, MargayError, messageOf } from "#std";
import { bgpSessions, type Session } from "./birdc.ts";
import { modelOptions, nodeName, withNodeFlags, type NodeFlags } from "./command.ts";
import { compareModels, diffText } from "./diff.ts";
import { readState } from "./follow.ts";
import { peerReport, reportText } from "./peer-routes.ts";
import { modelText, publicModel, type SessionsByFamily } from "./show.ts";
import { socketOf } from "./target.ts";

const HELP = `
Examples:
  margay bgp show                          peers and why, filters, what is announced; sessions if BIRD runs
  margay bgp show --node host-b -o json    another node, as the datastore has it
  margay bgp diff -f peer.yaml             what applying the file would do to this node
  margay bgp diff --delete -f peer.yaml    what deleting it would do
  margay bgp routes 10.0.0.2               what is announced to a peer; what is not, and why

Passwords are never shown. Exit code of diff: 0 nothing would change, 1 something, 2 an error.`;

interface Flags extends NodeFlags {
  readonly output: "text" | "json";
}
interface DiffFlags extends Flags {
  readonly filename?: readonly string[];
  readonly recursive?: boolean;
  readonly delete?: boolean;
}

const ERROR: Readonly<Record<string, number>> = { diff: 2 };

/** Resolves with the exit code. */
export async function bgpCommand(argv: readonly string[]): Promise<number> {
  let code = 0;
  let command = "";
  const program = new Command("margay bgp")
    .description("A node's BGP: the model, pending changes, sessions")
    .addHelpText("after", HELP);
  const add = (name: string, text: string): Command =>
    withNodeFlags(program.command(name).description(text)).addOption(
      new Option("-o, --output <format>", "format").choices(["text", "json"]).default("text"),
    );
  add("show", "The model: peers with their origin, filters, prefixes").action(
    async (flags: Flags) => {
      command = "show";
      code = await show(flags);
    },
  );
  add("diff", "What a change of resources would do to the model and BIRD's text")
    .option("-f, --filename <file>", "file, directory, or -; repeatable", collect)
    .option("-R, --recursive", "look in directories of the directory too")
    .option("--delete", "the change is that these resources go")
    .action(async (flags: DiffFlags) => {
      command = "diff";
      code = await diff(flags);
    });
  add("routes", "Routes that a peer is told, and those that it is not, with the reason")
    .argument("<peer>", "the peer's name as show has it, or its address")
    .action(async (peer: string, flags: Flags) => {
      command = "routes";
      code = await routes(peer, flags);
    });
  program.exitOverride();
  for (const one of program.commands) one.exitOverride();
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    process.stderr.write(`margay bgp: ${messageOf(error)}\n`);
    return ERROR[command] ?? 1;
  }
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

async function show(flags: Flags): Promise<number> {
  const model = bgpModel(await stateFor(flags), modelOptions(flags, process.env));
  const isHere = nodeName(flags, process.env) === nodeName({ runDir: "" }, process.env);
  const sessions = isHere || flags.runDir !== "/var/run/calico" ? await liveSessions(flags) : {};
  print(flags, () => modelText(model, sessions), {
    ...publicModel(model),
    sessions,
  });
  return 0;
}

async function diff(flags: DiffFlags): Promise<number> {
  if (flags.filename === undefined) {
    throw inputError("usage", "margay bgp diff needs -f and a file, a directory or -");
  }
  const manifests = await readManifests(flags.filename, {
    recursive: flags.recursive ?? false,
    namespace: undefined,
    stdin: process.stdin,
  });
  const state = await stateFor(flags);
  const options = modelOptions(flags, process.env);
  const before = bgpModel(state, options);
  for (const { resource } of manifests) {
    const { name, namespace } = resource.metadata;
    state.putResource(
      resourcePath(resource.kind, name, namespace),
      flags.delete === true ? null : resource,
    );
  }
  const after = bgpModel(state, options);
  const changes = compareModels(before, after);
  const texts = { 4: textDiff(before, after, 4), 6: textDiff(before, after, 6) };
  print(flags, () => changes.map((one) => `${one}\n`).join("") + texts[4] + texts[6], {
    changes,
    bird: texts[4],
    bird6: texts[6],
  });
  return changes.length === 0 && texts[4] === "" && texts[6] === "" ? 0 : 1;
}

function textDiff(before: BgpModel, after: BgpModel, family: 4 | 6): string {
  const name = family === 4 ? "bird.cfg" : "bird6.cfg";
  const [old, fresh] = [before, after].map((model) =>
    birdConfig(model, family, { redacted: true }),
  );
  return diffText(name, old ?? "", fresh ?? "");
}

async function routes(peer: string, flags: Flags): Promise<number> {
  const known: string[] = [];
  for (const family of [4, 6] as const) {
    const socket = socketOf(flags.runDir, family);
    const sessions = await bgpSessions(socket).catch(() => []);
    known.push(...sessions.map(({ name }) => name));
    const session = sessions.find(({ name, neighbor }) => name === peer || neighbor === peer);
    if (session === undefined) continue;
    const model = bgpModel(await stateFor(flags), modelOptions(flags, process.env));
    const report = await peerReport(socket, session, model, model.families[family]);
    print(flags, () => reportText(report), report);
    return 0;
  }
  const there = known.length === 0 ? "no BIRD answers" : `there are: ${known.join(", ")}`;
  throw inputError(
    "no-such-peer",
    `no session ${JSON.stringify(peer)} in ${flags.runDir}; ${there}`,
  );
}

async function liveSessions({ runDir }: Flags): Promise<SessionsByFamily> {
  const found: { [family in 4 | 6]?: Session[] } = {};
  for (const family of [4, 6] as const) {
    try {
      found[family] = await bgpSessions(socketOf(runDir, family));
    } catch (error) {
      if (!(error instanceof MargayError)) throw error;
    }
  }
  return found;
}

async function stateFor(flags: Flags): Promise<BgpState> {
  const { store } = await connect(flags.config);
  try {
    return await readState(store, nodeName(flags, process.env));
  } finally {
    await store.close();
  }
}

function print(flags: Flags, text: () => string, data: unknown): void {
  process.stdout.write(
    flags.output === "json" ? `${JSON.stringify(data, undefined, 2)}\n` : text(),
  );
}
