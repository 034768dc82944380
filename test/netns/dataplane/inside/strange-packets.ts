/** Sends frames of a workload that may open TCP to port 80 only; prints where each case got to. */
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { execFileSync } from "node:child_process";
import {
  ETH_IPV4,
  ETH_IPV6,
  fragmentHeader,
  frame,
  ipv4,
  ipv6,
  optionsHeader,
  routingHeader,
  tcpSyn,
  udp,
  type FrameOptions,
} from "../../../support/frames.ts";
import { messagesOf, program } from "../../../support/in-process-agent.ts";
import { goldenWorld, PacketWorld } from "../../../support/packet-world.ts";

/** Case → which hook of the host its last frame was seen behind. */
export type StrangePackets = Readonly<Record<string, "forwarded" | "to host" | "dropped">>;

const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION = 60;
const MORE_FRAGMENTS = 0x2000;

const OWN4 = "10.65.0.16";
const OTHER4 = "10.65.0.17";
const OUT4 = "192.0.2.5";
const HOST4 = "10.0.0.11";
const OWN6 = "fd66::16";
const OTHER6 = "fd66::17";
const OUT6 = "2001:db8::5";
const HOST6 = "2001:db8:9::11";
const LINK_LOCAL = "fe80::800:ff:fe00:0";

const v4 = (packet: readonly number[], more: Partial<FrameOptions> = {}): number[] =>
  frame(ETH_IPV4, packet, { src: "0a:00:00:00:00:00", ...more });
const v6 = (packet: readonly number[], more: Partial<FrameOptions> = {}): number[] =>
  frame(ETH_IPV6, packet, { src: "0a:00:00:00:00:00", ...more });
const web4 = (src: string, dst: string): number[] => v4(ipv4(src, dst, TCP, tcpSyn(80)));
const web6 = (src: string, dst: string): number[] => v6(ipv6(src, dst, TCP, tcpSyn(80)));

const CASES: Readonly<Record<string, readonly (readonly number[])[]>> = {
  "allowed IPv4": [web4(OWN4, OUT4)],
  "allowed IPv6": [web6(OWN6, OUT6)],
  "allowed after options": [
    v6(ipv6(OWN6, OUT6, DESTINATION, [...optionsHeader(TCP), ...tcpSyn(80)])),
  ],
  "other port": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(22)))],
  "another workload's address": [web4(OTHER4, OUT4)],
  "the receiver's address": [web4(OTHER4, OTHER4)],
  "the host's address": [web4(HOST4, OTHER4)],
  "loopback source": [web4("127.0.0.1", HOST4)],
  "multicast source": [web4("224.0.0.1", OUT4)],
  "no source": [web4("0.0.0.0", OUT4)],
  "to the host": [web4(OWN4, HOST4)],
  "to the host's loopback": [web4(OWN4, "127.0.0.1")],
  "another MAC": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80)), { src: "0a:00:00:00:00:09" })],
  "VLAN 5": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80)), { vlan: 5 })],
  "priority tag, other port": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(22)), { vlan: 0 })],
  "priority tag, other's address": [v4(ipv4(OTHER4, OUT4, TCP, tcpSyn(80)), { vlan: 0 })],
  "later fragment alone": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80), { fragment: 2, id: 1 }))],
  "fragments, other port": [
    v4(ipv4(OWN4, OUT4, TCP, tcpSyn(22).slice(0, 16), { fragment: MORE_FRAGMENTS, id: 2 })),
    v4(ipv4(OWN4, OUT4, TCP, tcpSyn(22).slice(16), { fragment: 2, id: 2 })),
  ],
  "allowed in fragments": [
    v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80).slice(0, 16), { fragment: MORE_FRAGMENTS, id: 3 })),
    v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80).slice(16), { fragment: 2, id: 3 })),
  ],
  "record route, other port": [
    v4(ipv4(OWN4, OUT4, TCP, tcpSyn(22), { options: [7, 7, 4, 0, 0, 0, 0, 0] })),
  ],
  "source route through the host": [
    v4(ipv4(OWN4, HOST4, TCP, tcpSyn(80), { options: [131, 7, 4, 10, 65, 0, 17, 0] })),
  ],
  "half a TCP header": [v4(ipv4(OWN4, OUT4, TCP, tcpSyn(80).slice(0, 8)))],
  "IP in IP": [v4(ipv4(OWN4, OUT4, 4, ipv4(OTHER4, OUT4, TCP, tcpSyn(80))))],
  "IPv6 in IPv4": [v4(ipv4(OWN4, OUT4, 41, ipv6(OTHER6, OUT6, TCP, tcpSyn(80))))],
  "IPv6: another workload's address": [web6(OTHER6, OUT6)],
  "IPv6: link-local to the outside": [web6(LINK_LOCAL, OUT6)],
  "IPv6: link-local to a workload": [web6(LINK_LOCAL, OTHER6)],
  "IPv6: link-local to the host": [web6(LINK_LOCAL, HOST6)],
  "IPv6: link-local with options": [
    v6(ipv6(LINK_LOCAL, OUT6, HOP_BY_HOP, [...optionsHeader(TCP), ...tcpSyn(80)])),
  ],
  "IPv6: no source": [web6("::", OUT6)],
  "IPv6: no source, ICMP": [v6(ipv6("::", OUT6, ICMPV6, [128, 0, 0, 0, 0, 0, 0, 0]))],
  "IPv6: loopback source": [web6("::1", HOST6)],
  "IPv6: IPv4-mapped source": [web6("::ffff:a41:11", OUT6)],
  "IPv6: options before UDP": [
    v6(ipv6(OWN6, OUT6, HOP_BY_HOP, [...optionsHeader(UDP), ...udp(53)])),
  ],
  "IPv6: many options before UDP": [
    v6(
      ipv6(OWN6, OUT6, DESTINATION, [
        ...Array.from({ length: 7 }, () => optionsHeader(DESTINATION)).flat(),
        ...optionsHeader(UDP),
        ...udp(80),
      ]),
    ),
  ],
  "IPv6: routing header 0": [
    v6(ipv6(OWN6, HOST6, ROUTING, [...routingHeader(TCP, 0, OTHER6), ...tcpSyn(80)])),
  ],
  "IPv6: routing header 4": [
    v6(ipv6(OWN6, HOST6, ROUTING, [...routingHeader(TCP, 4, OTHER6), ...tcpSyn(80)])),
  ],
  "IPv6: fragment of one, other port": [
    v6(ipv6(OWN6, OUT6, FRAGMENT, [...fragmentHeader(TCP, 0, false), ...tcpSyn(22)])),
  ],
  "IPv6: later fragment alone": [
    v6(ipv6(OWN6, OUT6, FRAGMENT, [...fragmentHeader(TCP, 16, false), ...tcpSyn(80)])),
  ],
  "IPv6: header that says it is longer": [v6(ipv6(OWN6, OUT6, DESTINATION, [TCP, 20, 1, 4]))],
};

function pod(index: number): unknown {
  return {
    apiVersion: "projectcalico.org/v3",
    kind: "WorkloadEndpoint",
    metadata: { name: `host--a-k8s-pod${index}-eth0`, namespace: "shop" },
    spec: {
      node: "host-a",
      orchestrator: "k8s",
      pod: `pod${index}`,
      endpoint: "eth0",
      containerID: "c",
      interfaceName: `cali0000000000${index}`,
      mac: `0a:00:00:00:00:0${index}`,
      ipNetworks: [`10.65.0.${16 + index}/32`, `fd66::${16 + index}/128`],
    },
  };
}

const policy = {
  apiVersion: "projectcalico.org/v3",
  kind: "GlobalNetworkPolicy",
  metadata: { name: "web-only" },
  spec: {
    selector: "all()",
    types: ["Ingress", "Egress"],
    ingress: [{ action: "Allow" }],
    egress: [{ action: "Allow", protocol: "TCP", destination: { ports: [80] } }],
  },
};

/** Behind everything else; neighbour discovery goes its own way and is not counted. */
const PROBE = `table inet probe {
  chain forwarded {
    type filter hook forward priority 300
    iifname "cali00000000000" counter
  }
  chain local {
    type filter hook input priority 300
    iifname "cali00000000000" meta l4proto != icmpv6 counter
  }
}`;

function counts(): readonly number[] {
  const listing = execFileSync("nft", ["list", "table", "inet", "probe"]).toString();
  return [...listing.matchAll(/packets (\d+)/g)].map((match) => Number(match[1]));
}

const world = await PacketWorld.build(goldenWorld());
execFileSync("nft", ["-f", "-"], { input: PROBE });
const dataplane = openLinuxDataplane(defaultLinuxDataplaneConfig);
await program(dataplane, messagesOf([pod(0), pod(1), policy]));
const results: Record<string, StrangePackets[string]> = {};
for (const [name, frames] of Object.entries(CASES)) {
  world.forget();
  const before = counts();
  await world.sendFrames("mgq-p0", frames);
  const [forwarded = 0, local = 0] = counts().map((count, i) => count - (before[i] ?? 0));
  results[name] = forwarded > 0 ? "forwarded" : local > 0 ? "to host" : "dropped";
}
await dataplane.close();
await world.close();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
