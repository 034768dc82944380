/** Loads the graph's code only for the command that asks policy. */
import { connect } from "../connect.ts";
import type { CtlIo } from "../run.ts";

const processIo: CtlIo = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  connect: (configFile) => connect(configFile),
};

/** `margay policy …`; resolves with the exit code. */
export async function policyCommand(
  argv: readonly string[],
  io: CtlIo = processIo,
): Promise<number> {
  const { runPolicy } = await import("../policy-eval/command.ts");
  return await runPolicy(argv, io);
}
