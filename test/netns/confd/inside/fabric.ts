/** A route reflector, its clients, and a top-of-rack router that runs BIRD from a text of its own. */
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  affinity,
  bgpConfiguration,
  bgpFilter,
  bgpPeer,
  node,
  pool,
} from "../../../support/bgp.ts";
import { BgpHosts } from "../../../support/bgp-hosts.ts";

export interface FabricResult {
  readonly reflected: string;
  readonly reflectedSix: string;
  readonly withoutPassword: string;
  readonly passwordMs: number;
  readonly mode: number;
  readonly told: boolean;
  readonly tor: string;
  readonly torSix: string;
  readonly learned: string;
  readonly notLearned: string;
  readonly notPassedOn: string;
  readonly serviceInKernel: string;
  readonly full: { readonly kept: boolean; readonly told: boolean; readonly taken: boolean };
}

const PASSWORD = "correct horse";
const TOR = `router id 192.0.2.9;
log stderr all;
protocol device { }
protocol direct { ipv4; ipv6; interface "eth0"; }
protocol static { ipv4; route 198.18.0.0/15 blackhole; route 203.0.113.0/24 blackhole; }
protocol bgp four {
  local 10.0.0.9 as 65010; neighbor 10.0.0.1 as 64512; multihop 1; ttl security on;
  password "${PASSWORD}"; connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export where source = RTS_STATIC; };
}
protocol bgp six {
  local fd00::9 as 65010; neighbor fd00::1 as 64512; multihop; connect delay time 1;
  ipv6 { import all; export none; };
}
`;
const HOSTS = [1, 2, 3];
const hosts = await BgpHosts.start([...HOSTS, 9]);
let result: FabricResult | undefined;
try {
  result = await scenario();
} catch (error) {
  for (const number of HOSTS) process.stderr.write(hosts.log(`confd-${number}`));
  process.stderr.write(hosts.birdc(1, "bird", "show protocols all"));
  process.stderr.write(hosts.birdc(1, "bird", "show route all"));
  process.stderr.write(hosts.run(1, "ip", "route"));
  process.stderr.write(hosts.log("bird-1").slice(-1500));
  throw error;
} finally {
  await hosts.stop();
}
process.stdout.write(JSON.stringify(result));

async function scenario(): Promise<FabricResult> {
  await hosts.put(...objects());
  hosts.writePassword(1, "bgp", "tor", "wrong");
  hosts.mountSmallDisk(2);
  hosts.startForeignBird(9, TOR);
  for (const number of HOSTS) await hosts.startHost(number);
  const reflectedRoute = (): string => route(2, "10.65.3.0/26");
  const reflectedSixRoute = (): string => route(3, "fd65::2:0/122");
  await hosts.until(
    "clients know each other's blocks",
    () => reflectedRoute() !== "" && reflectedSixRoute() !== "",
  );
  await hosts.until("the router has IPv6", () => torRoutes("ipv6").includes("fd65::2:0/122"));
  const withoutPassword = hosts.birdc(1, "bird", "show protocols Node_10_0_0_9");
  hosts.writePassword(1, "bgp", "tor", PASSWORD);
  const passwordMs = await hosts.until("the password counts", () =>
    hosts.birdc(1, "bird", "show protocols Node_10_0_0_9").includes("Established"),
  );
  await hosts.until("the router has what it should", () =>
    ["10.65.1.0/26", "10.65.2.0/26", "10.96.0.0/12"].every((one) =>
      torRoutes("ipv4").includes(one),
    ),
  );
  await hosts.until("we have what we should", () => route(1, "198.18.0.0/15") !== "");
  return {
    reflected: reflectedRoute(),
    reflectedSix: reflectedSixRoute(),
    withoutPassword,
    passwordMs,
    mode: statSync(join(hosts.home(1), "config", "bird.cfg")).mode & 0o777,
    told: HOSTS.some((number) => hosts.log(`confd-${number}`).includes(PASSWORD)),
    tor: torRoutes("ipv4"),
    torSix: torRoutes("ipv6"),
    learned: route(1, "198.18.0.0/15"),
    notLearned: route(1, "203.0.113.0/24"),
    notPassedOn: route(2, "198.18.0.0/15"),
    serviceInKernel: route(1, "10.96.0.0/12"),
    full: await fillingTheDisk(),
  };
}

function objects() {
  return [
    bgpConfiguration({
      nodeToNodeMeshEnabled: false,
      serviceClusterIPs: [{ cidr: "10.96.0.0/12" }],
    }),
    node(1, { routeReflectorClusterID: "1.1.1.1" }, { rr: "yes" }),
    node(2),
    node(3),
    pool("four", { cidr: "10.65.0.0/16" }),
    pool("six", { cidr: "fd65::/64" }),
    ...HOSTS.flatMap((number) => [
      affinity(`host-${number}`, `10.65.${number}.0/26`),
      affinity(`host-${number}`, `fd65::${number}:0/122`),
    ]),
    bgpPeer("reflector", { nodeSelector: "!has(rr)", peerSelector: "has(rr)" }),
    bgpPeer("tor", {
      nodeSelector: "has(rr)",
      peerIP: "10.0.0.9",
      asNumber: 65_010,
      ttlSecurity: 1,
      password: { secretKeyRef: { name: "bgp", key: "tor" } },
      filters: ["edge"],
    }),
    bgpPeer("tor-6", {
      nodeSelector: "has(rr)",
      peerIP: "fd00::9",
      asNumber: 65_010,
      filters: ["edge"],
    }),
    bgpFilter("edge", {
      exportV4: [
        { action: "Reject", cidr: "10.65.3.0/26", matchOperator: "Equal" },
        {
          action: "Accept",
          cidr: "10.65.0.0/16",
          matchOperator: "In",
          prefixLength: { min: 26, max: 26 },
          peerType: "eBGP",
          operations: [
            { addCommunity: { value: "64512:9" } },
            { prependASPath: { prefix: [64_513] } },
          ],
        },
      ],
      importV4: [
        { action: "Accept", cidr: "198.18.0.0/15", matchOperator: "Equal", source: "RemotePeers" },
        { action: "Reject" },
      ],
      exportV6: [{ action: "Reject", cidr: "fd65::3:0/122", matchOperator: "In" }],
    }),
  ];
}

function route(number: number, cidr: string): string {
  const family = cidr.includes(":") ? "-6" : "-4";
  return hosts.run(number, "ip", family, "route", "show", cidr).trim();
}

function torRoutes(table: string): string {
  return hosts.birdc(9, "bird", `show route all table ${table === "ipv4" ? "master4" : "master6"}`);
}

async function fillingTheDisk(): Promise<FabricResult["full"]> {
  const filler = join(hosts.home(2), "config", "filler");
  const before = hosts.config(2, "bird");
  try {
    writeFileSync(filler, Buffer.alloc(65_536));
  } catch {
    // Filled to the brim, as wanted.
  }
  const change = bgpPeer("more", { node: "host-2", peerIP: "192.0.2.77", asNumber: 1 });
  await hosts.put(change);
  await hosts.until("it is told", () => hosts.log("confd-2").includes("ENOSPC"));
  const kept = hosts.config(2, "bird") === before;
  rmSync(filler);
  await hosts.until("it is taken", () => hosts.config(2, "bird").includes("192.0.2.77"));
  await hosts.until("BIRD knows", () =>
    hosts.birdc(2, "bird", "show protocols").includes("Node_192_0_2_77"),
  );
  return { kept, told: true, taken: true };
}
