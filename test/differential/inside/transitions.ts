/** Leads one agent to and fro between states while packets are sent; prints the tags that arrived. */
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { readFileSync } from "node:fs";
import { GraphFeed, program } from "../../support/in-process-agent.ts";
import { goldenWorld, PacketWorld } from "../../support/packet-world.ts";
import type { RawFlow } from "../../support/packet-thread.ts";

const { file, rounds } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly file: string;
  readonly rounds: number;
};
const { states, flows } = JSON.parse(readFileSync(file, "utf8")) as {
  readonly states: readonly (readonly unknown[])[];
  readonly flows: readonly RawFlow[];
};
const world = await PacketWorld.build(goldenWorld());
const dataplane = openLinuxDataplane(defaultLinuxDataplaneConfig);
const feed = new GraphFeed();
await program(dataplane, feed.next(states[0] ?? []));
world.forget();
const arrived = new Set<number>();
for (let round = 1; round <= rounds; round++) {
  // The senders are threads: they send while this thread writes to the kernel.
  const sending = world.send(flows);
  for (const next of [round, round + 1, round]) {
    await program(dataplane, feed.next(states[next % states.length] ?? []));
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  for (const tag of await sending) arrived.add(tag);
}
await dataplane.close();
await world.close();
process.stdout.write(JSON.stringify([...arrived]), () => process.exit(0));
