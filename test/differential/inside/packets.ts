/** Programs states into the kernel, one after another, and sends their flows; prints what arrived. */
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { readFileSync } from "node:fs";
import { GraphFeed, messagesOf, program } from "../../support/in-process-agent.ts";
import { goldenWorld, PacketWorld } from "../../support/packet-world.ts";
import type { RawFlow } from "../../support/packet-thread.ts";

interface State {
  readonly resources: readonly unknown[];
  readonly flows: readonly RawFlow[];
}

const { file, incremental, neighboursKnown } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly file: string;
  /** One agent is led from state to state. */
  readonly incremental: boolean;
  readonly neighboursKnown: boolean;
};
const states = JSON.parse(readFileSync(file, "utf8")) as State[];
const world = await PacketWorld.build(goldenWorld(neighboursKnown));
const results: number[][] = [];
const agent = { feed: new GraphFeed(), dataplane: openLinuxDataplane(defaultLinuxDataplaneConfig) };
for (const state of states) {
  // Or a fresh dataplane each time, so that each state also starts from what the last one left.
  const dataplane = incremental ? agent.dataplane : openLinuxDataplane(defaultLinuxDataplaneConfig);
  const messages = incremental ? agent.feed.next(state.resources) : messagesOf(state.resources);
  await program(dataplane, messages);
  world.forget();
  results.push([...(await world.send(state.flows))]);
  if (!incremental) await dataplane.close();
}
await agent.dataplane.close();
await world.close();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
