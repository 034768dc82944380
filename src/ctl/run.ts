/**
 * `margay get|create|apply|replace|delete|label|patch|validate|diff|explain`: reads the command line, connects,
 * runs one command, turns errors into one clear message and the exit code (0 or 1; of diff 2).
 */
import { CommanderError } from "commander";
import { MargayError, messageOf } from "#std";
import { connect } from "./connect.ts";
import type { Client } from "./client.ts";
import { COMMANDS, programFor, type CommandName } from "./command-line.ts";
import { createCommand, applyCommand, replaceCommand } from "./commands/write.ts";
import { diffCommand } from "./commands/diff.ts";
import { explainCommand } from "./commands/explain.ts";
import { deleteCommand } from "./commands/delete.ts";
import { getCommand } from "./commands/get.ts";
import { labelCommand } from "./commands/label.ts";
import { patchCommand } from "./commands/patch.ts";
import { validateCommand } from "./commands/validate.ts";
import type { CommandContext, Options } from "./command-context.ts";

/** The world around a command; tests bring their own. */
export interface CtlIo {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stdin: NodeJS.ReadableStream;
  readonly connect: (configFile: string | undefined) => Promise<Client>;
}

type Command = (context: CommandContext) => Promise<number>;

const RUN: Readonly<Record<CommandName, Command>> = {
  get: getCommand,
  create: createCommand,
  apply: applyCommand,
  replace: replaceCommand,
  delete: deleteCommand,
  label: labelCommand,
  patch: patchCommand,
  validate: validateCommand,
  diff: diffCommand,
  explain: explainCommand,
};

/** Resolves with the exit code; never rejects for what a user can mend. */
export async function ctlCommand(name: string, argv: readonly string[]): Promise<number> {
  return await runCtl(name, argv, {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    connect: (configFile) => connect(configFile),
  });
}

export async function runCtl(name: string, argv: readonly string[], io: CtlIo): Promise<number> {
  if (!isCommand(name)) {
    io.stderr.write(
      `margay: no command ${JSON.stringify(name)}; there are ${COMMANDS.join(", ")}\n`,
    );
    return 1;
  }
  const program = programFor(name).configureOutput({
    writeOut: (text) => io.stdout.write(text),
    writeErr: (text) => io.stderr.write(text),
  });
  try {
    program.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : failed(name);
    throw error;
  }
  return await execute(name, program.args, program.opts(), io);
}

async function execute(
  name: CommandName,
  args: readonly string[],
  options: Options,
  io: CtlIo,
): Promise<number> {
  let client: Client | undefined;
  try {
    return await RUN[name]({
      name,
      args,
      options,
      io,
      client: async () => (client ??= await io.connect(options.config)),
    });
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    io.stderr.write(`${messageOf(error)}\n`);
    return failed(name);
  } finally {
    await client?.store.close();
  }
}

/** A 1 of `diff` says that something differs. */
function failed(name: CommandName): number {
  return name === "diff" ? 2 : 1;
}

function isCommand(name: string): name is CommandName {
  return (COMMANDS as readonly string[]).includes(name);
}
