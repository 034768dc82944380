/**
 * Two hosts, each under `margay node`, over one embedded store on a third machine that is served with
 * mutual TLS; the store is killed and comes back.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { ClusterHosts } from "../../../support/cluster-hosts.ts";
import type { Host } from "../../../support/cluster-objects.ts";
import { MARGAY } from "../../../support/node-start.ts";

export interface EmbeddedTlsResult {
  readonly status: string;
  readonly ipam: string;
  /** Whether a ping passes: at first, while the store is dead, under a new policy after that. */
  readonly reaches: { readonly first: boolean; readonly dead: boolean; readonly denied: boolean };
  /** What a command without a client certificate is told. */
  readonly stranger: { readonly code: number | null; readonly error: string };
}

const cluster = await ClusterHosts.start(2, {
  store: "tls",
  pools: [
    {
      kind: "IPPool",
      name: "pool4",
      spec: { cidr: "10.65.0.0/16", vxlanMode: "Never", ipipMode: "Never" },
    },
  ],
});
try {
  process.stdout.write(JSON.stringify(await scenario()));
} finally {
  await cluster.close();
}

async function scenario(): Promise<EmbeddedTlsResult> {
  const [one, two] = [cluster.host(1), cluster.host(2)];
  for (const { name, number } of cluster.hosts) {
    const path = `/calico/ipam/v2/host/${name}/ipv4/block/10.65.${number}.0-26`;
    await cluster.putRaw(path, '{"state":"confirmed","deleted":false}');
  }
  for (const host of cluster.hosts) cluster.startNode(host, { IP: `${host.ipv4}/24` });
  for (const host of cluster.hosts) {
    await cluster.until("the agent is ready", () => cluster.ready(host));
  }
  await cluster.until("workloads reach each other", () => cluster.reaches(one, two, 4));
  await cluster.until("the session is shown", () => status(one).includes("Established"));
  const first = cluster.reaches(one, two, 4);
  const shown = status(one);
  const ipam = margay(["ipam", "show", "--show-blocks"]);
  const { ETCD_CERT_FILE: _cert, ETCD_KEY_FILE: _key, ...settings } = cluster.clientSettings();
  const refused = spawnSync(MARGAY, ["get", "nodes"], {
    env: { ...process.env, ...settings },
    encoding: "utf8",
  });

  await cluster.killStore();
  const dead = cluster.reaches(one, two, 4);
  cluster.startStore();
  await cluster.until("the store takes a policy", () => {
    const policy = `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy,
      metadata: {name: deny-ping}, spec: {selector: all(), types: [Ingress]}}`;
    try {
      margay(["apply", "-f", "-"], policy);
      return true;
    } catch {
      return false;
    }
  });
  await cluster.until("policy is in force", () => !cluster.reaches(one, two, 4));
  return {
    status: shown,
    ipam,
    reaches: { first, dead, denied: !cluster.reaches(one, two, 4) },
    stranger: { code: refused.status, error: refused.stderr },
  };
}

function status(host: Host): string {
  const home = cluster.home(host);
  const directories = ["service", "run"].flatMap((one) => [`--${one}-dir`, join(home, one)]);
  const command = ["ip", "netns", "exec", host.netns, MARGAY, "node", "status", ...directories];
  const [program = "", ...args] = command;
  return spawnSync(program, args, { encoding: "utf8" }).stdout;
}

function margay(args: readonly string[], input = ""): string {
  return execFileSync(MARGAY, args, {
    env: { ...process.env, ...cluster.clientSettings() },
    encoding: "utf8",
    input,
    stdio: ["pipe", "pipe", "ignore"],
  });
}
