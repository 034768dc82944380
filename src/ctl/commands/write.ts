/** `margay create`, `apply`, `replace`: one loop, three ways of writing. */
import type { ManifestResource, Resource } from "#resource";
import { inputError, MargayError, messageOf } from "#std";
import type { Client } from "../client.ts";
import { manifestsOf, Progress, type CommandContext } from "../command-context.ts";
import { refuseReadonly } from "../references.ts";
import { report, type Outcome } from "../report.ts";

/** Kinds that others refer to are written first; the rest in the order of the files. */
const FIRST: readonly string[] = ["Tier", "BGPFilter"];

type Write = (client: Client, resource: Resource, context: CommandContext) => Promise<unknown>;

export async function createCommand(context: CommandContext): Promise<number> {
  return await writeAll(context, "create", "created", async (client, resource, { options }) => {
    try {
      await client.create(resource);
    } catch (error) {
      const exists = error instanceof MargayError && error.code === "already-exists";
      if (!(exists && options.skipExists === true)) throw error;
    }
  });
}

export async function applyCommand(context: CommandContext): Promise<number> {
  return await writeAll(context, "apply", "applied", (client, resource) => client.apply(resource));
}

export async function replaceCommand(context: CommandContext): Promise<number> {
  return await writeAll(context, "replace", "replaced", (client, resource) =>
    client.update(resource),
  );
}

async function writeAll(
  context: CommandContext,
  verb: "create" | "apply" | "replace",
  done: string,
  write: Write,
): Promise<number> {
  if (context.options.filename === undefined) {
    throw inputError(
      "usage",
      `margay ${verb} needs -f and a file, a directory or -\nmargay ${verb} --help shows examples`,
    );
  }
  const manifests = inOrder(await manifestsOf(context));
  if (manifests.length === 0) return 0;
  const client = await context.client();
  const progress = new Progress(context.io, manifests.length, done);
  const outcome: Outcome = { total: manifests.map((one) => one.resource), handled: 0 };
  try {
    for (const manifest of manifests) {
      refuseReadonly(manifest.resource.kind, verb);
      await write(client, manifest.resource, context);
      outcome.handled++;
      progress.step(outcome.handled);
    }
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    outcome.error = `[${messageOf(error)}]`;
  } finally {
    progress.end();
  }
  return report(context.io, verb, done, outcome);
}

function inOrder(manifests: readonly ManifestResource[]): ManifestResource[] {
  const rank = ({ resource }: ManifestResource): number =>
    FIRST.includes(resource.kind) ? FIRST.indexOf(resource.kind) : FIRST.length;
  return manifests.toSorted((a, b) => rank(a) - rank(b));
}
