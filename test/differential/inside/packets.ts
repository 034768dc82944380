/** Programs states into the kernel, one after another, and sends their flows; prints what arrived. */
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { readFileSync } from "node:fs";
import { messagesOf, program } from "../../support/in-process-agent.ts";
import { goldenWorld, PacketWorld } from "../../support/packet-world.ts";
import type { RawFlow } from "../../support/packet-thread.ts";

interface State {
  readonly resources: readonly unknown[];
  readonly flows: readonly RawFlow[];
}

const { file } = JSON.parse(process.argv[2] ?? "{}") as { file: string };
const states = JSON.parse(readFileSync(file, "utf8")) as State[];
const world = await PacketWorld.build(goldenWorld());
const results: number[][] = [];
for (const state of states) {
  // A fresh dataplane each time, so that each state also starts from what the last one left.
  const dataplane = openLinuxDataplane(defaultLinuxDataplaneConfig);
  await program(dataplane, messagesOf(state.resources));
  world.flushConntrack();
  results.push([...(await world.send(state.flows))]);
  await dataplane.close();
}
await world.close();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
