/** Two hosts with BIRD, a peer that is not there, and what CalicoNodeStatus says of the first host. */
import { affinity, bgpPeer, node, pool, type Given } from "../../../support/bgp.ts";
import { BgpHosts, MARGAY } from "../../../support/bgp-hosts.ts";

export interface ReportedStatus {
  readonly status: {
    readonly lastUpdated: string;
    readonly agent: { readonly birdV4: Agent; readonly birdV6: Agent };
    readonly bgp: Readonly<Record<string, unknown>> & {
      readonly peersV4: readonly Readonly<Record<string, string>>[];
    };
    readonly routes: { readonly routesV4: readonly object[]; readonly routesV6: readonly object[] };
  };
}

type Agent = Readonly<Record<string, string>>;

export interface StatusReporterResult {
  readonly reported: ReportedStatus;
  /** What host 1's own BIRD says. */
  readonly bird: string;
  readonly agentOnly: ReportedStatus;
  /** `margay node status`, as text and as data. */
  readonly table: string;
  readonly json: string;
  /** After the end of `bird6`. */
  readonly without6: ReportedStatus;
  readonly others: string;
}

const hosts = await BgpHosts.start([1, 2]);
try {
  process.stdout.write(JSON.stringify(await scenario()));
} finally {
  await hosts.stop();
}

async function scenario(): Promise<StatusReporterResult> {
  await hosts.put(
    node(1),
    node(2),
    affinity("host-1", "10.65.1.0/26"),
    affinity("host-2", "10.65.2.0/26"),
    affinity("host-2", "fd65::2:0/122"),
    pool("four", { cidr: "10.65.0.0/16" }),
    pool("six", { cidr: "fd65::/64" }),
    bgpPeer("tor", { peerIP: "10.0.0.99", asNumber: 64999 }),
    request("all", "host-1", ["Agent", "BGP", "Routes"]),
    request("agent", "host-1", ["Agent"]),
    request("other", "host-2", ["Agent"]),
  );
  for (const number of [1, 2]) await hosts.startHost(number);
  const reporter = ["ip", "netns", "exec", hosts.namespace(1), MARGAY, "node", "-status-reporter"];
  hosts.spawn("reporter", [...reporter, "--run-dir", hosts.home(1)], { NODENAME: "host-1" });
  let reported = status("all");
  let bird = "";
  // A report is up to a second old, in which confd may have reconfigured BIRD once more.
  await hosts.until("routes of both families are reported, and the last configuration", () => {
    bird = hosts.birdc(1, "bird", "show status");
    reported = status("all");
    const { routes, bgp, agent } = reported.status;
    const text = JSON.stringify(routes ?? {});
    return (
      text.includes('"10.65.2.0/26"') &&
      text.includes('"fd65::2:0/122"') &&
      bgp["numberEstablishedV6"] === 1 &&
      bird.includes(`Last reconfiguration on ${agent.birdV4["lastReconfigurationTime"]}`)
    );
  });
  const agentOnly = status("agent");
  const nodeStatus = ["node", "status", "--run-dir", hosts.home(1)];
  const table = hosts.margay(1, ...nodeStatus);
  const json = hosts.margay(1, ...nodeStatus, "-o", "json");
  await hosts.kill("bird6-1", "SIGKILL");
  await hosts.until("its end is reported", () => {
    return status("all").status.agent.birdV6["state"] === "NotReady";
  });
  return {
    reported,
    bird,
    agentOnly,
    table,
    json,
    without6: status("all"),
    others: hosts.margay(1, "get", "caliconodestatus", "other", "-o", "json"),
  };
}

function request(name: string, of: string, classes: readonly string[]): Given {
  return { kind: "CalicoNodeStatus", name, spec: { node: of, classes, updatePeriodSeconds: 1 } };
}

function status(name: string): ReportedStatus {
  return JSON.parse(
    hosts.margay(1, "get", "caliconodestatus", name, "-o", "json"),
  ) as ReportedStatus;
}
