/** `margay diff`: what `apply` of the same files would change. Exit code 1 if anything, 2 on an error. */
import { toYaml, withDerivedMetadata, withoutBookkeeping, type Resource } from "#resource";
import { inputError } from "#std";
import { manifestsOf, type CommandContext } from "../command-context.ts";
import { describe } from "../resource-errors.ts";
import { unifiedDiff } from "../unified-diff.ts";

const COLOURS: Readonly<Record<string, string>> = { "-": "31", "+": "32", "@": "36" };

export async function diffCommand(context: CommandContext): Promise<number> {
  if (context.options.filename === undefined) {
    throw inputError(
      "usage",
      "margay diff needs -f and a file, a directory or -\nmargay diff --help shows examples",
    );
  }
  const manifests = await manifestsOf(context);
  if (manifests.length === 0) return 0;
  const { io } = context;
  const client = await context.client();
  const isColoured = io.stdout.isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
  let differ = false;
  for (const { resource } of manifests) {
    const { kind, metadata } = resource;
    const before = await client.find(kind, metadata.name, metadata.namespace);
    const hunks = unifiedDiff(
      before === undefined ? "" : toYaml(comparable(before)),
      toYaml(comparable(withStatusOf(before, resource))),
    );
    if (hunks === "") continue;
    differ = true;
    const name = describe(kind, metadata.name, metadata.namespace);
    const head = `--- ${before === undefined ? "/dev/null" : `stored ${name}`}\n+++ ${name}\n`;
    io.stdout.write(isColoured ? coloured(head + hunks) : head + hunks);
  }
  return differ ? 1 : 0;
}

/** Without what the store sets itself; `apply` keeps it. */
function comparable(resource: Resource): Resource {
  const whole = withoutBookkeeping(withDerivedMetadata(resource));
  const { uid: _1, resourceVersion: _2, creationTimestamp: _3, ...metadata } = whole.metadata;
  return { ...whole, metadata };
}

/** `apply` keeps what was found out about an object. */
function withStatusOf(before: Resource | undefined, after: Resource): Resource {
  const { status } = (before ?? {}) as { readonly status?: unknown };
  return status === undefined || "status" in after ? after : ({ ...after, status } as Resource);
}

function coloured(text: string): string {
  return text.replaceAll(/^[-+@].*$/gm, (line) => {
    return `\u001B[${COLOURS[line[0] ?? ""] ?? "0"}m${line}\u001B[0m`;
  });
}
