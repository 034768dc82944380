/** Inside a sandbox: the policy table in the real kernel, what nft says of it, and real packets. */
import { execFileSync, spawnSync } from "node:child_process";
import { openNftTable } from "#netlink";
import { PolicyCompiler } from "../../../../src/dataplane/linux/nft/compiler.ts";
import {
  defaultNftPolicyConfig,
  type NftPolicyConfig,
} from "../../../../src/dataplane/linux/nft/config.ts";
import { goldenWorld, PacketWorld } from "../../../support/packet-world.ts";
import type { RawFlow } from "../../../support/packet-thread.ts";
import {
  gnp,
  ipSetDelta,
  ipSetUpdate,
  policyUpdate,
  profileUpdate,
  tier,
  wepUpdate,
} from "../../../support/nft-world.ts";

export interface PolicyTableResult {
  readonly listing: string;
  readonly json: boolean;
  /** `nft -c` takes what `nft list` wrote: a saved ruleset with our table in it still loads. */
  readonly rereadable: boolean;
  /** Netlink messages of the first apply, of one without news, and of a restart. */
  readonly first: number;
  readonly idle: number;
  readonly restart: number;
  /** Of one more endpoint of a known class, one more member, and one changed policy. */
  readonly endpoint: number;
  readonly member: number;
  readonly policy: number;
  readonly arrived: readonly number[];
  readonly afterMember: readonly number[];
}

const config: NftPolicyConfig = {
  ...defaultNftPolicyConfig,
  workloadSourceSpoofing: "Any",
  logPrefix: "t=%t k=%k n=%n p=%p",
  logActionRateLimit: { rate: 5, unitSeconds: 1, burst: 9 },
};
const port = (first: number, last = first): object => ({
  protocol: { name: "tcp" },
  dstPorts: [{ first, last }],
});
const pod = (i: number, more: object = {}): ReturnType<typeof wepUpdate> =>
  wepUpdate(String(i), {
    name: `cali0000000000${i}`,
    ipv4Nets: [`10.65.0.${16 + i}/32`],
    ipv6Nets: [`fd66::${16 + i}/128`],
    profileIds: ["open"],
    ...more,
  });
const everyField = [
  {
    action: "allow" as const,
    srcIpSetIds: ["s:a"],
    dstIpSetIds: ["s:a"],
    dstPorts: [{ first: 1, last: 2 }],
    dstNamedPortIpSetIds: ["n:a"],
  },
  { action: "log" as const, srcIpSetIds: ["s:a"], notDstIpSetIds: ["s:a"] },
  { action: "allow" as const, icmp: { type: 8, code: 0 } },
  { action: "deny" as const, notIcmp: { type: 8 } },
  {
    action: "deny" as const,
    notSrcNamedPortIpSetIds: ["n:a"],
    ipVersion: 6 as const,
    notProtocol: { number: 47 },
  },
  {
    action: "allow" as const,
    dstIpPortSetIds: ["n:a"],
    srcNet: ["10.0.0.0/9", "fd00::/8"],
    notSrcNet: ["10.0.0.0/30", "10.1.0.0/16", "fd00::1/128"],
  },
  {
    action: "deny" as const,
    protocol: { name: "sctp" },
    notDstPorts: [
      { first: 1, last: 9 },
      { first: 20, last: 65535 },
    ],
  },
];

const world = await PacketWorld.build(goldenWorld());
route();

const table = openNftTable({ family: "inet", name: "margay" });
const compiler = new PolicyCompiler(config, table);
const messages = [
  ipSetUpdate("s:a", ["10.65.0.16/32", "fd66::16/128", "192.0.2.0/24"]),
  ipSetUpdate("n:a", ["10.65.0.17,tcp:80", "fd66::17,udp:53"], "IP_AND_PORT"),
  profileUpdate("open"),
  policyUpdate(gnp("pass"), [{ action: "next-tier", ...port(80) }]),
  policyUpdate(gnp("web"), [{ action: "allow", ...port(80, 90), srcIpSetIds: ["s:a"] }]),
  policyUpdate(gnp("all"), everyField, everyField),
  pod(0, { mac: "0a:00:00:00:00:00" }),
  pod(1, { tiers: [tier("first", [gnp("pass"), gnp("none")]), tier("second", [gnp("web")])] }),
  pod(2, {
    tiers: [tier("x", [gnp("all")], [gnp("all")], "Pass")],
    allowSpoofedSourcePrefixes: ["10.7.0.0/16"],
  }),
];
const apply = async (): Promise<number> => {
  compiler.flush();
  return (await table.apply()).messages;
};
for (const message of messages) compiler.onMessage(message);
const first = await apply();
const idle = await apply();
const listing = execFileSync("nft", ["list", "table", "inet", "margay"], { encoding: "utf8" });
const rereadable = spawnSync("nft", ["-c", "-f", "-"], { input: listing }).status === 0;
const asJson = execFileSync("nft", ["-j", "list", "table", "inet", "margay"], { encoding: "utf8" });

const flows: readonly RawFlow[] = [
  { from: "mgq-p0", to: "mgq-p1", dst: "10.65.0.17", proto: "tcp", sport: 1001, dport: 80, tag: 1 },
  { from: "mgq-p0", to: "mgq-p1", dst: "fd66::17", proto: "tcp", sport: 1002, dport: 80, tag: 2 },
  { from: "mgq-p0", to: "mgq-p1", dst: "10.65.0.17", proto: "tcp", sport: 1003, dport: 81, tag: 3 },
  { from: "mgq-o", to: "mgq-p1", dst: "10.65.0.17", proto: "tcp", sport: 1004, dport: 80, tag: 4 },
  {
    from: "mgq-o",
    to: "mgq-p1",
    dst: "10.65.0.17",
    src: "192.0.2.5",
    proto: "tcp",
    sport: 1005,
    dport: 80,
    tag: 5,
  },
  { from: "mgq-o", to: "mgq-p0", dst: "10.65.0.16", proto: "udp", sport: 1006, dport: 53, tag: 6 },
  {
    from: "mgq-p0",
    to: "mgq-o",
    dst: "10.0.0.99",
    src: "10.65.0.99",
    proto: "udp",
    sport: 1007,
    dport: 53,
    tag: 7,
  },
  { from: "mgq-p0", to: "mgq-o", dst: "10.0.0.99", proto: "udp", sport: 1008, dport: 53, tag: 8 },
  { from: "mgq-p0", to: "mgq-o", dst: "10.0.0.99", proto: "udp", sport: 1009, dport: 4789, tag: 9 },
  { from: "mgq-p0", to: "mgq-h", dst: "10.0.0.11", proto: "udp", sport: 1010, dport: 53, tag: 10 },
  { from: "mgq-p3", to: "mgq-o", dst: "10.0.0.99", proto: "udp", sport: 1011, dport: 53, tag: 11 },
  { from: "mgq-o", to: "mgq-p3", dst: "10.65.0.19", proto: "udp", sport: 1012, dport: 53, tag: 12 },
  { from: "mgq-h", to: "mgq-p1", dst: "10.65.0.17", proto: "tcp", sport: 1013, dport: 22, tag: 13 },
];
const arrived = [...(await world.send(flows))].toSorted((a, b) => a - b);

compiler.onMessage(ipSetDelta("s:a", ["10.0.0.99/32"]));
const member = await apply();
world.forget();
const again = [
  { ...flows[3], sport: 2004, tag: 104 } as RawFlow,
  { ...flows[4], sport: 2005, tag: 105 } as RawFlow,
];
const afterMember = [...(await world.send(again))].toSorted((a, b) => a - b);

compiler.onMessage(pod(3));
const endpoint = await apply();
compiler.onMessage(policyUpdate(gnp("web"), [{ action: "allow", ...port(80, 91) }]));
const policy = await apply();

// A new agent without memory that hears the same end state.
const reborn = openNftTable({ family: "inet", name: "margay" });
const other = new PolicyCompiler(config, reborn);
for (const message of messages) other.onMessage(message);
other.onMessage(ipSetDelta("s:a", ["10.0.0.99/32"]));
other.onMessage(pod(3));
other.onMessage(policyUpdate(gnp("web"), [{ action: "allow", ...port(80, 91) }]));
other.flush();
const restart = (await reborn.apply()).messages;

await world.close();
const result: PolicyTableResult = {
  listing,
  rereadable,
  json: asJson.startsWith("{"),
  first,
  idle,
  restart,
  endpoint,
  member,
  policy,
  arrived,
  afterMember,
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));

/** What the route and interface managers do in the agent. */
function route(): void {
  for (let i = 0; i < 4; i++) {
    const name = `cali0000000000${i}`;
    const sysctls = [`net.ipv4.conf.${name}.proxy_arp=1`, `net.ipv4.neigh.${name}.proxy_delay=0`];
    execFileSync("sysctl", ["-qw", ...sysctls]);
    execFileSync("ip", ["route", "add", `10.65.0.${16 + i}`, "dev", name]);
    execFileSync("ip", ["-6", "route", "add", `fd66::${16 + i}`, "dev", name]);
  }
}
