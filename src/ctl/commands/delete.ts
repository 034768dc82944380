/** `margay delete`. */
import type { Kind } from "#resource";
import { inputError, MargayError, messageOf } from "#std";
import type { Client } from "../client.ts";
import {
  kindNamed,
  manifestsOf,
  namespaceFor,
  Progress,
  type CommandContext,
} from "../command-context.ts";
import { refuseReadonly } from "../references.ts";
import { report, type Outcome } from "../report.ts";

interface Target {
  readonly kind: Kind;
  readonly name: string;
  readonly namespace: string | undefined;
}

export async function deleteCommand(context: CommandContext): Promise<number> {
  const { io } = context;
  const targets = await targetsOf(context);
  if (targets.length === 0) return 0;
  const client = await context.client();
  const progress = new Progress(io, targets.length, "deleted");
  const outcome: Outcome = { total: targets, handled: 0 };
  const errors: string[] = [];
  try {
    for (const target of targets) {
      const error = await deleteOne(client, target, context);
      if (error === undefined) outcome.handled++;
      else errors.push(error);
      progress.step(outcome.handled);
    }
  } finally {
    progress.end();
  }
  if (errors.length === 0) return report(io, "delete", "deleted", outcome);
  if (outcome.handled > 0) report(io, "delete", "deleted", outcome);
  const [kind] = new Set(targets.map((one) => one.kind));
  for (const error of errors) {
    io.stderr.write(`Failed to delete '${kind ?? ""}' resource: ${error}\n`);
  }
  return 1;
}

async function targetsOf(context: CommandContext): Promise<Target[]> {
  const { args, options } = context;
  const [kindName, ...names] = args;
  if (kindName === undefined) {
    if (options.filename === undefined) throw usage();
    // Policies before their tier: the other way round than they were written.
    const manifests = await manifestsOf(context);
    return manifests
      .map(({ resource: { kind, metadata } }) => ({
        kind,
        name: metadata.name,
        namespace: metadata.namespace,
      }))
      .toSorted((a, b) => Number(a.kind === "Tier") - Number(b.kind === "Tier"));
  }
  const [kindPart = "", nameInKind] = kindName.split("/");
  const info = kindNamed(kindPart, "delete");
  const wanted = nameInKind === undefined ? names : [nameInKind, ...names];
  if (wanted.length === 0 || options.filename !== undefined) throw usage();
  const namespace = namespaceFor(info, options);
  return wanted.map((name) => ({ kind: info.kind, name, namespace }));
}

function usage(): Error {
  return inputError(
    "usage",
    "margay delete needs a kind and names, or -f and a file\nmargay delete --help shows examples",
  );
}

async function deleteOne(
  client: Client,
  { kind, name, namespace }: Target,
  { options }: CommandContext,
): Promise<string | undefined> {
  try {
    refuseReadonly(kind, "delete");
    await client.delete(kind, name, namespace === undefined ? {} : { namespace });
    return undefined;
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind !== "input") throw error;
    if (error.code === "not-found" && options.skipNotExists === true) return undefined;
    return messageOf(error);
  }
}
