/** `margay get`. */
import { kindInfo, type Kind, type Resource } from "#resource";
import { inputError, MargayError, messageOf } from "#std";
import type { Client } from "../client.ts";
import { kindNamed, manifestsOf, namespaceFor, type CommandContext } from "../command-context.ts";
import { PROBLEM } from "../columns.ts";
import { parseFormat, print, type OutputFormat, type Printed } from "../output.ts";
import { effectOfInvalid, problemsOf } from "../problems.ts";

const DEFAULT_AS_NUMBER = 64512;

export async function getCommand(context: CommandContext): Promise<number> {
  const { args, options, io } = context;
  const format = parseFormat(options.output ?? "table");
  const [kindList, ...names] = args;
  if ((kindList === undefined) === (options.filename === undefined)) {
    throw inputError(
      "usage",
      "margay get needs a kind, or -f and a file\nmargay get --help shows examples and kinds",
    );
  }
  const problems: string[] = [];
  const groups =
    kindList === undefined
      ? await getFiles(context, problems)
      : await getKinds(context, kindList, names, problems);
  const client = await context.client();
  const showNamespace = options.allNamespaces === true || options.namespace !== undefined;
  if (groups.length > 0) {
    io.stdout.write(
      print(groups, {
        format,
        showNamespace,
        exported: options.export ?? false,
        table: {
          asNumber: needsAsNumber(groups) ? await asNumberOf(client) : DEFAULT_AS_NUMBER,
          problems: showsProblems(format)
            ? await problemsOf(
                client.store,
                groups.flatMap((group) => group.resources),
              )
            : new Map(),
        },
      }),
    );
  }
  for (const problem of problems) io.stderr.write(`${problem}\n`);
  return problems.length === 0 ? 0 : 1;
}

async function getKinds(
  context: CommandContext,
  kindList: string,
  names: readonly string[],
  problems: string[],
): Promise<Printed[]> {
  const { options } = context;
  const [kindPart = "", nameInKind] = kindList.split("/");
  const infos = kindPart.split(",").map((one) => kindNamed(one, "get"));
  const wanted = nameInKind === undefined ? names : [nameInKind, ...names];
  const client = await context.client();
  const groups: Printed[] = [];
  for (const info of infos) {
    if (wanted.length > 0) {
      const found = await getNamed(
        client,
        wanted.map((name) => ({ kind: info.kind, name, namespace: namespaceFor(info, options) })),
        problems,
      );
      if (found.length > 0) groups.push(group(info.kind, found));
      continue;
    }
    const namespace = options.allNamespaces === true ? undefined : namespaceFor(info, options);
    const listed = await client.list(info.kind, namespace === undefined ? {} : { namespace });
    const effect = effectOfInvalid(info.kind);
    for (const { key, message } of listed.invalid) problems.push(`${key}: ${message}${effect}`);
    const { resources, revision } = listed;
    groups.push({ kind: info.kind, resources, isList: true, revision });
  }
  return groups;
}

async function getFiles(context: CommandContext, problems: string[]): Promise<Printed[]> {
  const manifests = await manifestsOf(context);
  const client = await context.client();
  const byKind = new Map<Kind, Resource[]>();
  const wanted = manifests.map(({ resource: { kind, metadata } }) => ({
    kind,
    name: metadata.name,
    namespace: metadata.namespace,
  }));
  for (const resource of await getNamed(client, wanted, problems)) {
    const same = byKind.get(resource.kind) ?? [];
    byKind.set(resource.kind, [...same, resource]);
  }
  return [...byKind].map(([kind, resources]) => group(kind, resources));
}

function group(kind: Kind, resources: readonly Resource[]): Printed {
  return { kind, resources, isList: false, revision: 0 };
}

/** Those that are there; the others become problems. */
async function getNamed(
  client: Client,
  wanted: readonly { kind: Kind; name: string; namespace: string | undefined }[],
  problems: string[],
): Promise<Resource[]> {
  const found: Resource[] = [];
  for (const { kind, name, namespace } of wanted) {
    try {
      found.push(await client.get(kind, name, namespace));
    } catch (error) {
      if (!(error instanceof MargayError) || error.kind !== "input") throw error;
      problems.push(`${messageOf(error)}${await elsewhere(client, kind, name, namespace, error)}`);
    }
  }
  return found;
}

/** A namespaced name that exists in another namespace is the usual slip. */
async function elsewhere(
  client: Client,
  kind: Kind,
  name: string,
  namespace: string | undefined,
  error: MargayError,
): Promise<string> {
  if (error.code !== "not-found" || kindInfo(kind)?.namespaced !== true) return "";
  const { resources } = await client.list(kind);
  const others = resources
    .filter((one) => one.metadata.name === name && one.metadata.namespace !== namespace)
    .map((one) => one.metadata.namespace ?? "");
  return others.length === 0 ? "" : ` (there is one in namespace ${others.join(", ")})`;
}

function showsProblems(format: OutputFormat): boolean {
  return (
    format.format === "wide" || (format.format === "custom" && format.columns.includes(PROBLEM))
  );
}

function needsAsNumber(groups: readonly Printed[]): boolean {
  return groups.some(({ kind }) => kind === "Node");
}

async function asNumberOf(client: Client): Promise<number> {
  const config = await client.find("BGPConfiguration", "default");
  return config?.spec.asNumber ?? DEFAULT_AS_NUMBER;
}
