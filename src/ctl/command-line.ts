/** The options and help of each command. */
import { Command } from "commander";
import { KINDS } from "#resource";

export const COMMANDS = [
  "get",
  "create",
  "apply",
  "replace",
  "delete",
  "label",
  "patch",
  "validate",
  "diff",
  "explain",
] as const;
export type CommandName = (typeof COMMANDS)[number];

const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** A program for one command; it throws instead of leaving the process. */
export function programFor(name: CommandName): Command {
  const program = new Command(`margay ${name}`)
    .exitOverride()
    .showSuggestionAfterError(true)
    .showHelpAfterError(`\nmargay ${name} --help shows examples`)
    .helpOption("-h, --help", "show this help")
    .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore");
  SHAPES[name](program);
  return program.addHelpText("after", `\n${HELP[name].trim()}\n`);
}

const files = (program: Command): Command =>
  program
    .option(
      "-f, --filename <file>",
      "file, directory, or - for standard input; repeatable",
      collect,
    )
    .option("-R, --recursive", "look in directories of the directory too")
    .option("--skip-empty", "files without resources are no error");
const namespace = (program: Command): Command =>
  program.option(
    "-n, --namespace <name>",
    "namespace of resources that name none (default: default)",
  );
/** Taken for the sake of scripts; there is no version to mismatch here. */
const ignored = (program: Command): Command =>
  program
    .option("--allow-version-mismatch", "accepted, without effect")
    .option("--context <name>", "accepted, without effect");

const SHAPES: Readonly<Record<CommandName, (program: Command) => void>> = {
  get: (program) => {
    ignored(namespace(files(program)))
      .description("Show resources")
      .argument("[kind]", "kind, plural or short name; several with commas")
      .argument("[name...]", "names; all of the namespace when left out")
      .option("-A, --all-namespaces", "resources of every namespace")
      .option(
        "-o, --output <format>",
        "table, wide, yaml, json, name, custom-columns=A,B, jsonpath={.a.b}",
        "table",
      )
      .option("--export", "leave out uid, revision and creation time");
  },
  create: (program) => {
    ignored(namespace(files(program)))
      .description("Create resources; it is an error if one exists")
      .option("--skip-exists", "leave resources that exist as they are");
  },
  apply: (program) => {
    ignored(namespace(files(program))).description("Create resources, or replace those that exist");
  },
  replace: (program) => {
    ignored(namespace(files(program))).description(
      "Replace resources; it is an error if one does not exist",
    );
  },
  delete: (program) => {
    ignored(namespace(files(program)))
      .description("Delete resources, by name or as a file lists them")
      .argument("[kind]", "kind, plural or short name")
      .argument("[name...]", "names")
      .option("--skip-not-exists", "resources that do not exist are no error");
  },
  label: (program) => {
    ignored(namespace(program))
      .description("Add, change or remove a label")
      .argument("<kind>", "kind, plural or short name")
      .argument("<name>", "name")
      .argument("<label>", "key=value, or the key with --remove")
      .option("--overwrite", "change a label that is there")
      .option("--remove", "remove the label");
  },
  patch: (program) => {
    ignored(namespace(program))
      .description("Change some fields of a resource")
      .argument("<kind>", "kind, plural or short name")
      .argument("<name>", "name")
      .requiredOption("-p, --patch <text>", "the patch, JSON or YAML")
      .option(
        "-t, --type <type>",
        "merge (RFC 7386), json (RFC 6902) or strategic (as merge)",
        "strategic",
      );
  },
  validate: (program) => {
    ignored(namespace(files(program)))
      .description("Check files without a datastore, or what is in a datastore")
      .option("--datastore", "name the objects that agents do not take as they are written");
  },
  diff: (program) => {
    ignored(namespace(files(program))).description("Show what apply would change");
  },
  explain: (program) => {
    program
      .description("Show the fields of a kind: type, meaning, default, limits")
      .argument("<kind[.field]>", "kind, plural or short name; then a path of fields");
  },
};

const KIND_LIST = [
  "Kinds (short names):",
  ...KINDS.map((info) => {
    const short = info.shortNames.length === 0 ? "" : ` (${info.shortNames.join(", ")})`;
    return `  ${`${info.kind}${short}`.padEnd(52)} ${info.summary}`;
  }),
].join("\n");

const MANIFEST_HELP = `
Every fault of every file is shown at once, with file, line, column and the likely fix; when there
is one, nothing at all is written.`;

const HELP: Readonly<Record<CommandName, string>> = {
  get: `
Examples:
  margay get nodes
  margay get networkpolicies -A -o wide       every namespace, more columns
  margay get np db -n shop -o yaml            one policy, as it can be applied again with --export
  margay get gnp -o custom-columns=NAME,ORDER,SELECTOR
  margay get tier,gnp -o name
  margay get gnp allow-web -o jsonpath='{.spec.selector}'
  margay get np -A -o jsonpath='{range .items[*]}{.metadata.name} {.spec.order}{"\\n"}{end}'

${KIND_LIST}`,
  create: `
Examples:
  margay create -f policy.yaml
  margay create -f policies/ -R --skip-exists
${MANIFEST_HELP}`,
  apply: `
Examples:
  margay apply -f policy.yaml
  margay apply -f tiers.yaml -f policies/ -R
  margay apply -f - <<'END'
  apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: allow-web}
  spec:
    selector: app == 'web'
    ingress:
    - {action: Allow, protocol: TCP, destination: {ports: [80, 443]}}
  END

Tiers are written before what belongs to them. A resource that is already as the file says is left
alone, with its revision.
${MANIFEST_HELP}`,
  replace: `
Examples:
  margay replace -f policy.yaml
  margay get np db -n shop -o yaml > db.yaml; $EDITOR db.yaml; margay replace -f db.yaml

A file with metadata.resourceVersion is only written if nobody changed the resource since.
${MANIFEST_HELP}`,
  delete: `
Examples:
  margay delete gnp allow-web
  margay delete np db to-svc -n shop
  margay delete -f policy.yaml --skip-not-exists

The built-in tiers stay, and a tier with policies in it is not deleted.`,
  label: `
Examples:
  margay label globalnetworkset blocklist color=red
  margay label gns blocklist color=blue --overwrite
  margay label gns blocklist color --remove`,
  patch: `
Examples:
  margay patch gnp allow-web -p '{"spec": {"order": 50}}'
  margay patch np db -n shop -p 'spec: {selector: "app == \\'db\\'"}'
  margay patch gns blocklist --type json -p '[{"op": "add", "path": "/spec/nets/-", "value": "192.0.2.0/24"}]'`,
  validate: `
Examples:
  margay validate -f policy.yaml
  margay validate -f policies/ -R
  margay validate --datastore

With -f it needs no datastore: fit for a commit hook or CI. With --datastore it names every object that is not
valid, what agents do about it, and policies that deny because they cannot be enforced as written.
${MANIFEST_HELP}`,
  diff: `
Examples:
  margay diff -f policy.yaml
  margay diff -f policies/ -R || echo "the store is not as the files say"

Exit code: 0 when apply would change nothing, 1 when it would, 2 on an error. Colours on a terminal,
unless NO_COLOR is set.`,
  explain: `
Examples:
  margay explain gnp
  margay explain networkpolicy.spec.ingress
  margay explain gnp.spec.ingress.source.selector

${KIND_LIST}`,
};
