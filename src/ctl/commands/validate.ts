/** `margay validate`: the checks of `apply`, without a datastore; or what agents make of a datastore. */
import { KINDS, type Resource } from "#resource";
import { inputError } from "#std";
import { manifestsOf, type CommandContext } from "../command-context.ts";
import { effectOfInvalid, problemsOf } from "../problems.ts";
import { report } from "../report.ts";

export async function validateCommand(context: CommandContext): Promise<number> {
  const { options } = context;
  if ((options.filename === undefined) === (options.datastore !== true)) {
    throw inputError(
      "usage",
      "margay validate needs -f and a file, a directory or -; or --datastore\nmargay validate --help shows examples",
    );
  }
  if (options.datastore === true) return validateDatastore(context);
  const resources = (await manifestsOf(context)).map((one) => one.resource);
  return report(context.io, "validate", "validated", {
    total: resources,
    handled: resources.length,
  });
}

/** Every object that agents do not take as it is written. */
async function validateDatastore({ io, client: connect }: CommandContext): Promise<number> {
  const client = await connect();
  const faults: string[] = [];
  const resources: Resource[] = [];
  for (const { kind } of KINDS) {
    const listed = await client.list(kind);
    resources.push(...listed.resources);
    const effect = effectOfInvalid(kind);
    faults.push(...listed.invalid.map(({ key, message }) => `${key}: ${message}${effect}`));
  }
  for (const [{ kind, metadata }, problem] of await problemsOf(client.store, resources)) {
    const scope = metadata.namespace === undefined ? "" : `${metadata.namespace}/`;
    faults.push(`${kind}(${scope}${metadata.name}): ${problem}`);
  }
  for (const fault of faults) io.stderr.write(`${fault}\n`);
  if (faults.length > 0) return 1;
  io.stdout.write(`Successfully validated ${resources.length} resource(s) of the datastore\n`);
  return 0;
}
