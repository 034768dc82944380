/** `margay policy eval`: the question of the command line, and the exit code. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { IpFamily } from "#ip";
import { inputError, MargayError, messageOf } from "#std";
import { readManifests } from "../input-files.ts";
import type { Client } from "../client.ts";
import type { CtlIo } from "../run.ts";
import { Cluster, storedTexts, textsOfManifests } from "./cluster.ts";
import { evaluateFlow, type FlowQuestion } from "./evaluate-flow.ts";
import { answerJson, answerText } from "./print.ts";

const HELP = `
Ends:
  shop/web-1                 a workload: namespace and pod, workload or endpoint name
  10.65.0.17                 the workload, or node, with this address; else the outside
  node/host-a                a node itself

Examples:
  margay policy eval --from shop/web-1 --to shop/db --port 5432
  margay policy eval --from 203.0.113.9 --to shop/web-1 --protocol udp --port 53
  margay policy eval --from shop/web-1 --to 10.65.0.17 --protocol icmp -o json
  margay policy eval -f cluster.yaml -f policies/ --from a/b --to c/d --port 80 --expect deny

With -f the answer comes from the files alone, which then hold workload endpoints, profiles, nodes,
policies and FelixConfiguration; no datastore is asked. Without, from the datastore that margay get
would read. What a node's own environment or file sets is not known here.

Exit code: 0 for an answer, whatever it is; 1 when it is not what --expect says; 2 when there is no
answer.
`;

interface Options {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly port?: number;
  readonly sourcePort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  readonly ipVersion?: string;
  readonly node?: string;
  readonly interface?: string;
  readonly filename?: readonly string[];
  readonly recursive?: boolean;
  readonly namespace?: string;
  readonly output: string;
  readonly expect?: string;
  readonly config?: string;
}

const NO_ANSWER = 2;

export async function runPolicy(argv: readonly string[], io: CtlIo): Promise<number> {
  let code = 0;
  const program = new Command("margay policy").description("Ask what policy says");
  const evalCommand = program
    .command("eval")
    .description("Would this flow be let through, and why?")
    .action(async (options: Options) => {
      code = await evalFlow(options, io);
    });
  addOptions(evalCommand).addHelpText("after", HELP);
  for (const command of [program, evalCommand]) {
    command
      .exitOverride()
      .showHelpAfterError("\nmargay policy eval --help shows examples")
      .configureOutput({
        writeOut: (text) => io.stdout.write(text),
        writeErr: (text) => io.stderr.write(text),
      });
  }
  program.addHelpText("after", "\nmargay policy eval --help shows examples\n");
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : NO_ANSWER;
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    io.stderr.write(`${messageOf(error)}\n`);
    return NO_ANSWER;
  }
}

function addOptions(command: Command): Command {
  const number = (max: number) => (text: string) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value <= max) return value;
    throw new InvalidArgumentError(`expected a number from 0 to ${max}`);
  };
  const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];
  return command
    .requiredOption("--from <end>", "who sends the first packet")
    .requiredOption("--to <end>", "who it is for")
    .option("--protocol <name>", "tcp, udp, sctp, udplite, icmp, icmpv6, or a number", "tcp")
    .option("--port <number>", "destination port", number(65_535))
    .option("--source-port <number>", "source port (default: 40000)", number(65_535))
    .option("--icmp-type <number>", "ICMP type (default: echo request)", number(255))
    .option("--icmp-code <number>", "ICMP code (default: 0)", number(255))
    .addOption(
      new Option("--ip-version <version>", "for ends with both (default: 4)").choices(["4", "6"]),
    )
    .option("--node <name>", "only what this node decides")
    .option("--interface <name>", "the node's interface towards the outside, for host endpoints")
    .option("-f, --filename <file>", "manifests instead of a datastore; repeatable", collect)
    .option("-R, --recursive", "look in directories of the directory too")
    .option("-n, --namespace <name>", "namespace of resources in files that name none")
    .addOption(new Option("-o, --output <format>").choices(["text", "json"]).default("text"))
    .addOption(
      new Option("--expect <verdict>", "exit with 1 if it is not this").choices(["allow", "deny"]),
    )
    .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore");
}

async function evalFlow(options: Options, io: CtlIo): Promise<number> {
  const cluster = await clusterOf(options, io);
  const answer = evaluateFlow(cluster, questionOf(options));
  io.stdout.write(options.output === "json" ? answerJson(answer) : answerText(answer));
  if (options.expect === undefined || options.expect === answer.verdict) return 0;
  io.stderr.write(`expected ${options.expect}, but the verdict is ${answer.verdict}\n`);
  return 1;
}

async function clusterOf(options: Options, io: CtlIo): Promise<Cluster> {
  const { filename, recursive = false, namespace } = options;
  if (filename !== undefined) {
    const read = await readManifests(filename, { recursive, namespace, stdin: io.stdin });
    if (read.length === 0) {
      throw inputError("no-resources", `no resources specified in ${filename.join(", ")}`);
    }
    return new Cluster(textsOfManifests(read.map(({ resource }) => resource)));
  }
  let client: Client | undefined;
  try {
    client = await io.connect(options.config);
    return new Cluster(await storedTexts(client.store));
  } finally {
    await client?.store.close();
  }
}

function questionOf(options: Options): FlowQuestion {
  const { from, to, protocol, port, sourcePort, icmpType, icmpCode, ipVersion, node } = options;
  return {
    from,
    to,
    protocol,
    ...(port === undefined ? {} : { port }),
    ...(sourcePort === undefined ? {} : { sourcePort }),
    ...(icmpType === undefined ? {} : { icmpType }),
    ...(icmpCode === undefined ? {} : { icmpCode }),
    ...(ipVersion === undefined ? {} : { ipVersion: Number(ipVersion) as IpFamily }),
    ...(node === undefined ? {} : { node }),
    ...(options.interface === undefined ? {} : { interfaceName: options.interface }),
  };
}
