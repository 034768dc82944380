/** `margay label`: one label of one resource, by read, change, compare-and-swap. */
import type { Resource } from "#resource";
import { inputError } from "#std";
import { kindNamed, namespaceFor, type CommandContext } from "../command-context.ts";

export async function labelCommand(context: CommandContext): Promise<number> {
  const { args, options, io } = context;
  const [kindName = "", name = "", given = ""] = args;
  const info = kindNamed(kindName, "label");
  const what = `${kindName} ${name}`;
  const [key, value] = parseLabel(given, options.remove ?? false);
  const client = await context.client();
  const resource: Resource = await client.get(info.kind, name, namespaceFor(info, options));
  const labels = resource.metadata.labels ?? {};
  const before = labels[key];
  if (value === undefined) {
    if (before === undefined) {
      throw inputError(
        "no-such-label",
        `can not remove label of ${what}, key ${key} does not exist`,
      );
    }
    const { [key]: _removed, ...rest } = labels;
    await client.update(withLabels(resource, rest));
    io.stdout.write(`Successfully removed label ${key} from ${what}\n`);
    return 0;
  }
  if (before !== undefined && options.overwrite !== true) {
    throw inputError(
      "label-exists",
      `failed to update label of ${what}, key ${key} is already present. please use '--overwrite' to set a new value`,
    );
  }
  await client.update(withLabels(resource, { ...labels, [key]: value }));
  io.stdout.write(
    before === undefined
      ? `Successfully set label ${key} on ${what}\n`
      : `Successfully updated label ${key} on ${what}\n`,
  );
  return 0;
}

function parseLabel(text: string, remove: boolean): [key: string, value?: string] {
  const equals = text.indexOf("=");
  if (remove) {
    if (equals < 0) return [text];
    throw inputError("usage", `--remove takes the key alone: ${text.slice(0, equals)}`);
  }
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
  throw inputError("usage", `${JSON.stringify(text)} is no label: expected key=value, or --remove`);
}

function withLabels(resource: Resource, labels: Readonly<Record<string, string>>): Resource {
  return { ...resource, metadata: { ...resource.metadata, labels } };
}
