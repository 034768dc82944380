/** The lab that a command means, among those that run on this machine. */
import { inputError } from "#std";
import { runningLabs, type RunningLab } from "./sandbox.ts";

/** Throws `no-lab` and `several-labs`. */
export function findLab(name: string | undefined): RunningLab {
  const labs = runningLabs().filter((lab) => name === undefined || lab.name === name);
  const [lab, second] = labs;
  if (lab === undefined) {
    throw inputError(
      "no-lab",
      `no lab${name === undefined ? "" : ` named ${name}`} runs: start one with 'margay lab up examples/three-hosts.yaml'`,
    );
  }
  if (second !== undefined)
    throw inputError(
      "several-labs",
      `several labs run: ${labs.map((l) => l.name).join(", ")}; name one`,
    );
  return lab;
}
