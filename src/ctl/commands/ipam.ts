/** Loads IPAM's code only for the command that asks for it. */
import { connect } from "../connect.ts";
import type { CtlIo } from "../run.ts";

const processIo: CtlIo = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  connect: (configFile) => connect(configFile),
};

/** `margay ipam …`; resolves with the exit code. */
export async function ipamCommand(argv: readonly string[], io: CtlIo = processIo): Promise<number> {
  const { runIpam } = await import("../ipam/command.ts");
  return await runIpam(argv, io);
}
