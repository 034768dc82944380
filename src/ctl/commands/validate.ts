/** `margay validate`: the checks of `apply`, without a datastore. */
import { inputError } from "#std";
import { manifestsOf, type CommandContext } from "../command-context.ts";
import { report } from "../report.ts";

export async function validateCommand(context: CommandContext): Promise<number> {
  if (context.options.filename === undefined) {
    throw inputError(
      "usage",
      "margay validate needs -f and a file, a directory or -\nmargay validate --help shows examples",
    );
  }
  const resources = (await manifestsOf(context)).map((one) => one.resource);
  return report(context.io, "validate", "validated", {
    total: resources,
    handled: resources.length,
  });
}
