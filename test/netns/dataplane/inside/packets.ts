/** Hand-written messages in, real packets out: policy by IP set, over both families. */
import type { ToDataplane } from "#calc";
import { gnp, policyUpdate, tier } from "../../../support/nft-world.ts";
import { TcpPeer, type Outcome } from "../../../support/tcp-peer.ts";
import {
  ALLOW_PROFILE,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  pod,
  policyTable,
  run,
  within,
} from "../../../support/workload-host.ts";

export interface PacketsResult {
  readonly errors: readonly string[];
  readonly before: readonly Outcome[];
  readonly allowed: readonly Outcome[];
  readonly otherPort: readonly Outcome[];
  readonly afterRemoval: readonly Outcome[];
  readonly reverse: readonly Outcome[];
  readonly statuses: Readonly<Record<string, string>>;
  /** Milliseconds until the table is whole again; at best, since the machine may be busy. */
  readonly flushedMs: number;
  readonly deletedMs: number;
}

const SET = "s:clients";
const POLICY = gnp("web");
const [client, server] = [pod(1), pod(2)];
const delta = (addedMembers: string[], removedMembers: string[]): ToDataplane => ({
  case: "ipsetDeltaUpdate",
  value: { id: SET, addedMembers, removedMembers },
});

makeHost();
plug(client);
plug(server);
const peers = [new TcpPeer("/run/netns/pod1"), new TcpPeer("/run/netns/pod2")] as const;
await Promise.all(peers.flatMap((peer) => [peer.listen(80), peer.listen(81)]));
const dataplane = openApplied();
await dataplane.send(
  { case: "ipsetUpdate", value: { id: SET, type: "NET", members: [] } },
  policyUpdate(POLICY, [
    {
      action: "allow",
      protocol: { name: "tcp" },
      dstPorts: [{ first: 80, last: 80 }],
      srcIpSetIds: [SET],
    },
  ]),
  ALLOW_PROFILE,
  endpointUpdate(client),
  endpointUpdate(server, { tiers: [tier("default", [POLICY])] }),
  IN_SYNC,
);
const to = async (port: number): Promise<Outcome[]> => [
  await peers[0].connect(server.ipv4, port),
  await peers[0].connect(server.ipv6, port),
];
const before = await to(80);
const members = [`${client.ipv4}/32`, `${client.ipv6}/128`];
await dataplane.send(delta(members, []));
const allowed = await to(80);
const otherPort = await to(81);
const whole = ruleset();
const flushedMs = await repaired("flush");
const deletedMs = await repaired("delete");
await dataplane.send(delta([], members));
const afterRemoval = await to(80);
const reverse = [await peers[1].connect(client.ipv4, 81), await peers[1].connect(client.ipv6, 81)];
const result: PacketsResult = {
  errors: dataplane.errors,
  before,
  allowed,
  otherPort,
  afterRemoval,
  reverse,
  statuses: Object.fromEntries(dataplane.statuses),
  flushedMs,
  deletedMs,
};
await dataplane.close();
await Promise.all(peers.map((peer) => peer.close()));

async function repaired(verb: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    run("nft", verb, "table", "inet", "margay");
    times.push(await within(10_000, `the table is whole after ${verb}`, () => ruleset() === whole));
  }
  return Math.min(...times);
}

/** Without counters and handles. */
function ruleset(): string {
  try {
    return policyTable();
  } catch {
    return "";
  }
}

process.stdout.write(JSON.stringify(result), () => process.exit(0));
