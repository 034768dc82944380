/** `margay node -startup` on a host with several interfaces, against a real etcd. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EtcdServer } from "../../../contract/datastore/etcd-server.ts";
import { until } from "../../../support/agent-host.ts";
import { makeCertificateDir, makeCertificates } from "../../../support/certificates.ts";
import { serveNodes, TOKEN } from "../../../support/kubernetes-api.ts";
import { etcdctlGet, runNode, spawnNode, type Run } from "../../../support/node-start.ts";

export interface StartupResult {
  /** Of each way to find the addresses: what the Node says afterwards. */
  readonly found: Readonly<Record<string, readonly [ipv4: string, ipv6: string]>>;
  readonly failed: Readonly<Record<string, Run>>;
  readonly objects: Readonly<Record<string, string>>;
  readonly nodename: string;
  readonly again: Run;
  readonly revisions: readonly [before: string, after: string];
  readonly conflict: Run;
  readonly conflictNode: string;
  readonly unchecked: Run;
  readonly waited: Run;
  /** Asked to stop while it waits. */
  readonly stopped: Run;
  readonly unreachable: Run;
}

/** From the oldest to the newest. */
const LINKS: Readonly<Record<string, readonly string[]>> = {
  eth0: ["10.0.0.11/24", "fd00::11/64"],
  ens7: ["172.16.5.1/16", "10.9.9.9/30", "fd09::9/64"],
  off0: ["10.10.10.10/24"],
  docker0: ["172.17.0.1/16"],
  cali0a: ["169.254.1.1/32"],
  "vxlan.calico": ["192.168.11.0/32"],
};

function ip(command: string): void {
  execFileSync("ip", command.split(" "));
}

ip("link set lo up");
for (const [name, addresses] of Object.entries(LINKS)) {
  ip(`link add ${name} type bridge`);
  for (const address of addresses) {
    ip(`addr add ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`);
  }
  if (name !== "off0") ip(`link set ${name} up`);
}
ip("route add 203.0.113.0/24 via 10.0.0.1");

const etcd = await EtcdServer.start();
const base = { ETCD_ENDPOINTS: etcd.endpoint, CALICO_NODENAME_FILE: join(etcd.dir, "nodename") };
const start = (env: Readonly<Record<string, string>>): Promise<Run> =>
  runNode(["-startup"], { ...base, ...env });

interface StoredNode {
  readonly spec: {
    readonly bgp?: { readonly ipv4Address?: string; readonly ipv6Address?: string };
  };
}
const addressesOf = (name: string): readonly [string, string] => {
  const { spec } = JSON.parse(etcdctlGet(etcd.endpoint, "nodes", name)) as StoredNode;
  return [spec.bgp?.ipv4Address ?? "", spec.bgp?.ipv6Address ?? ""];
};

const WAYS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  nothing: {},
  interface: { IP: "autodetect", IP_AUTODETECTION_METHOD: "interface=eno.*,^eth" },
  skip: { IP: "autodetect", IP_AUTODETECTION_METHOD: "skip-interface=ens.*", IP6: "autodetect" },
  reach: { IP_AUTODETECTION_METHOD: "can-reach=203.0.113.7", IP6: "none" },
  cidr: { IP: "autodetect", IP_AUTODETECTION_METHOD: "cidr=10.9.0.0/16,10.8.0.0/16" },
  explicit: { IP: "10.0.0.11", IP6: "fd00::11" },
  prefix: { IP: "10.0.0.11/20", IP6: "none" },
  elsewhere: { IP: "198.51.100.9" },
};
// As in a pod.
const certificates = makeCertificates(makeCertificateDir());
const kubernetes = await serveNodes(certificates, {
  "node-k": [
    { type: "ExternalIP", address: "10.0.0.11" },
    { type: "InternalIP", address: "172.16.5.1" },
    { type: "InternalIP", address: "fd00::11" },
  ],
});
execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
const account = "/var/run/secrets/kubernetes.io/serviceaccount";
mkdirSync(account, { recursive: true });
writeFileSync(join(account, "token"), TOKEN);
copyFileSync(certificates.ca, join(account, "ca.crt"));
const pod = {
  KUBERNETES_SERVICE_HOST: "127.0.0.1",
  KUBERNETES_SERVICE_PORT: String(kubernetes.port),
  IP: "autodetect",
  IP_AUTODETECTION_METHOD: "kubernetes-internal-ip",
};
const IP6 = { IP6: "autodetect", IP6_AUTODETECTION_METHOD: "kubernetes-internal-ip" };

const failed: Record<string, Run> = {};
const found: Record<string, readonly [string, string]> = {};
const ways = { ...WAYS, kubernetes: { ...pod, ...IP6, CALICO_K8S_NODE_REF: "node-k" } };
for (const [name, env] of Object.entries(ways)) {
  const run = await start({ ...env, NODENAME: name, DISABLE_NODE_IP_CHECK: "true" });
  if (run.status !== 0) failed[name] = run;
  else found[name] = addressesOf(name);
}
for (const [name, env] of Object.entries({
  kubernetes: { IP: "autodetect", IP_AUTODETECTION_METHOD: "kubernetes-internal-ip" },
  stranger: { ...pod, CALICO_K8S_NODE_REF: "nobody" },
  nowhere: { IP: "autodetect", IP_AUTODETECTION_METHOD: "interface=wlan.*" },
  backend: { CALICO_NETWORKING_BACKEND: "brid" },
  family: { IP: "fd00::11" },
  pools: { NO_DEFAULT_POOLS: "true", CALICO_IPV4POOL_CIDR: "10.1.0.0/16" },
})) {
  failed[name] = await start({ ...env, NODENAME: name });
}

const hostA = {
  HOSTNAME: "Host-A",
  IP: "autodetect",
  IP_AUTODETECTION_METHOD: "interface=eth0",
  IP6: "autodetect",
  AS: "1.10",
  CLUSTER_TYPE: "typha,bgp",
  CALICO_K8S_NODE_REF: "node-a",
  DISABLE_NODE_IP_CHECK: "true",
};
await start(hostA);
const value = (plural: string, name: string): string => etcdctlGet(etcd.endpoint, plural, name);
const objects = {
  node: value("nodes", "host-a"),
  cluster: value("clusterinformations", "default"),
  pool4: value("ippools", "default-ipv4-ippool"),
  pool6: value("ippools", "default-ipv6-ippool"),
  felix: value("felixconfigurations", "default"),
  felixNode: value("felixconfigurations", "node.host-a"),
  bgp: value("bgpconfigurations", "default"),
};
const nodename = readFileSync(base.CALICO_NODENAME_FILE, "utf8");
const revision = (): string =>
  execFileSync("etcdctl", ["--endpoints", etcd.endpoint, "endpoint", "status", "-w", "json"], {
    encoding: "utf8",
    env: { ...process.env, ETCDCTL_API: "3" },
  }).match(/"revision":(\d+)/)?.[1] ?? "?";
const before = revision();
const again = await start(hostA);
const revisions = [before, revision()] as const;

const other = { NODENAME: "host-b", IP: "10.0.0.11", CLUSTER_TYPE: "k8s,bgp" };
const conflict = await start(other);
const conflictNode = value("nodes", "host-b");
const unchecked = await start({ ...other, DISABLE_NODE_IP_CHECK: "true" });

await etcd.kill();
const impatient = spawnNode(["-startup"], { ...base, ...hostA, WAIT_FOR_DATASTORE: "true" });
await until("it waits", () => impatient.log().includes("waiting"));
const stopped = await impatient.stop();
const unreachable = await start({ NODENAME: "host-c" });
const waiting = start({ ...hostA, WAIT_FOR_DATASTORE: "true" });
await sleep(1500);
await etcd.run();
const waited = await waiting;
await etcd.kill();

const result: StartupResult = {
  found,
  failed,
  objects,
  nodename,
  again,
  revisions,
  conflict,
  conflictNode,
  unchecked,
  waited,
  stopped,
  unreachable,
};
kubernetes.close();
process.stdout.write(JSON.stringify(result));
