/**
 * The program `margay`: finds the command and loads only that one. `--version` and `--help` load
 * nothing else, so that they answer at once. Started by `bin/main.mjs`.
 */
import { readFileSync } from "node:fs";

type Command = (argv: readonly string[]) => Promise<number>;

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

const resourceCommand = (name: string, summary: string): Entry => ({
  summary,
  load: async () => {
    const { ctlCommand } = await import("#ctl");
    return (argv) => ctlCommand(name, argv);
  },
});

const COMMANDS: Readonly<Record<string, Entry>> = {
  get: resourceCommand("get", "show resources"),
  create: resourceCommand("create", "create resources that do not exist yet"),
  apply: resourceCommand("apply", "create or replace resources"),
  replace: resourceCommand("replace", "replace resources that exist"),
  delete: resourceCommand("delete", "delete resources"),
  label: resourceCommand("label", "add, change or remove labels"),
  patch: resourceCommand("patch", "change some fields of a resource"),
  validate: resourceCommand("validate", "check files without writing anything"),
  diff: resourceCommand("diff", "show what apply would change"),
  explain: resourceCommand("explain", "show the fields of a kind"),
  policy: {
    summary: "ask what policy says of a flow, and why",
    load: async () => {
      const { policyCommand } = await import("#ctl");
      return (argv) => policyCommand(argv);
    },
  },
  ipam: {
    summary: "addresses: who has which and why, leaks, settings",
    load: async () => {
      const { ipamCommand } = await import("#ctl");
      return (argv) => ipamCommand(argv);
    },
  },
  felix: {
    summary: "run the node agent: policy from the datastore into the kernel",
    load: async () => (await import("#felix")).felixCommand,
  },
  confd: {
    summary: "keep BIRD's configuration as the datastore says",
    load: async () => (await import("#confd")).confdCommand,
  },
  bgp: {
    summary: "show a node's BGP: peers and why, sessions, what a change would do",
    load: async () => (await import("#confd")).bgpCommand,
  },
  node: {
    summary: "run a whole node: start-up, then felix, confd and BIRD under a supervisor",
    load: async () => (await import("#node")).nodeCommand,
  },
  datastore: {
    summary: "serve the embedded store, as etcd v3, to other programs",
    load: async () => (await import("#ctl")).datastoreCommand,
  },
  lab: {
    summary: "run hosts and workloads in network namespaces of this machine",
    load: async () => (await import("#lab")).labCommand,
  },
};

const GROUPS: readonly {
  readonly title: string;
  readonly commands: readonly string[];
  readonly examples: readonly string[];
}[] = [
  {
    title: "Resources, in the datastore",
    commands: [
      "get",
      "apply",
      "create",
      "replace",
      "delete",
      "label",
      "patch",
      "validate",
      "diff",
      "explain",
    ],
    examples: [
      "margay diff -f policy.yaml",
      "margay apply -f policy.yaml",
      "margay get networkpolicies -A -o wide",
    ],
  },
  {
    title: "Questions",
    commands: ["policy", "bgp", "ipam"],
    examples: [
      "margay policy eval --from shop/web-1 --to shop/db --port 5432",
      "margay bgp show",
      "margay ipam explain 10.65.0.17",
    ],
  },
  {
    title: "Services of a node",
    commands: ["node", "felix", "confd", "datastore"],
    examples: [
      "sudo margay felix                                   # this host, embedded store",
      "ETCD_ENDPOINTS=https://10.0.0.1:2379 sudo -E margay felix",
      "margay felix --print-config",
    ],
  },
  {
    title: "Try it",
    commands: ["lab"],
    examples: ["margay lab up examples/one-host.yaml"],
  },
];

/** Commands of calicoctl that are not here, and what to do. */
const OF_CALICOCTL: Readonly<Record<string, string>> = {
  cluster: "margay get clusterinformation -o yaml tells the cluster's state",
  convert: "manifests of the v1 API are not read; write projectcalico.org/v3",
};

const OTHER: Readonly<Record<string, string>> = {
  help: "this text, or that of one command",
  version: "the version",
  completion: "completion for a shell: bash, zsh or fish",
};

const [first, ...rest] = process.argv.slice(2);
const debug = first === "--debug" || (process.env["MARGAY_DEBUG"] ?? "") !== "";
const args = first === "--debug" ? rest : process.argv.slice(2);

// `margay get … | head` is not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

try {
  process.exit(await main(args));
} catch (error) {
  process.stderr.write(describe(error));
  process.exit(1);
}

async function main(argv: readonly string[]): Promise<number> {
  const [name = "help", ...more] = argv;
  switch (name) {
    case "--version":
    case "-V":
    case "-v":
    case "version":
      process.stdout.write(`margay ${version()}\n`);
      return 0;
    case "--help":
    case "-h":
    case "help":
      if (more[0] === undefined) {
        process.stdout.write(helpText());
        return 0;
      }
      return main([more[0], "--help"]);
    case "completion":
      return await completion(more[0]);
    default:
      // As calico-node.
      if (name === "node" && /^--?v(?:ersion)?$/.test(more[0] ?? "")) return main(["version"]);
      return run(name, more);
  }
}

async function run(name: string, argv: readonly string[]): Promise<number> {
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry !== undefined) return (await entry.load())(argv);
  const instead = Object.hasOwn(OF_CALICOCTL, name) ? OF_CALICOCTL[name] : undefined;
  if (instead !== undefined) {
    process.stderr.write(
      `margay: calicoctl's ${JSON.stringify(name)} is not built yet: ${instead}\n`,
    );
    return 1;
  }
  const { didYouMean } = await import("#std");
  const names = [...Object.keys(COMMANDS), ...Object.keys(OTHER)];
  const guess = didYouMean(name, names);
  process.stderr.write(
    `margay: no command ${JSON.stringify(name)}` +
      `${guess === undefined ? "" : `; did you mean ${guess}?`}\nmargay --help lists them all.\n`,
  );
  return 1;
}

function helpText(): string {
  const lines = [
    "Margay gives workloads and hosts their network and decides who may talk to whom.",
    "It speaks Calico's API, datastore layout and FELIX_* settings.",
    "",
    "Usage: margay [--debug] COMMAND [ARGUMENTS]",
  ];
  const row = (name: string, summary: string): string => `  ${name.padEnd(11)} ${summary}`;
  for (const group of GROUPS) {
    lines.push("", `${group.title}:`);
    for (const name of group.commands) lines.push(row(name, COMMANDS[name]?.summary ?? ""));
    lines.push("", ...group.examples.map((example) => `    ${example}`));
  }
  lines.push("", "Other:", ...Object.entries(OTHER).map(([name, text]) => row(name, text)));
  lines.push("", "margay COMMAND --help shows what a command takes, with an example.");
  return `${lines.join("\n")}\n`;
}

function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

async function completion(shell: string | undefined): Promise<number> {
  const { completionScript } = await import("#ctl");
  const names = [...Object.keys(COMMANDS), ...Object.keys(OTHER)].toSorted();
  const script = completionScript(shell ?? "", names);
  if (script !== undefined) {
    process.stdout.write(script);
    return 0;
  }
  process.stderr.write(
    "margay completion bash|zsh|fish\n  e.g. source <(margay completion bash)\n",
  );
  return 1;
}

/** One clear line; the stack only when asked for. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return `margay: ${String(error)}\n`;
  const { code, kind, fields } = error as Error & {
    code?: string;
    kind?: string;
    fields?: Readonly<Record<string, unknown>>;
  };
  const told = Object.entries(fields ?? {}).filter(
    ([, value]) =>
      value !== undefined &&
      !error.message.includes(typeof value === "string" ? value : JSON.stringify(value)),
  );
  const details = told.length === 0 ? "" : ` ${JSON.stringify(Object.fromEntries(told))}`;
  const label = kind === "bug" ? "bug in margay: " : "";
  const line = `margay: ${label}${error.message}${code === undefined || kind === "bug" ? "" : ` (${code})`}${details}\n`;
  const hint = kind === "bug" && !debug ? "margay: run again with --debug for a stack trace\n" : "";
  return debug ? `${line}${error.stack ?? ""}\n` : line + hint;
}
