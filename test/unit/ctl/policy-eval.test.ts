/** `margay policy eval`: answers, traces, ends that are not clear, and the packets that Felix let through. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { test } from "node:test";
import { policyCommand } from "#ctl";
import { resourcePath, validateResource, type Resource } from "#resource";
import { Cluster, textsOfManifests } from "../../../src/ctl/policy-eval/cluster.ts";
import { evaluateFlow } from "../../../src/ctl/policy-eval/evaluate-flow.ts";
import { Ctl, type Ran } from "./harness.ts";

const endpoint = (node: string, pod: string, ip: number, more = ""): string => `
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: ${node.replace("-", "--")}-k8s-${pod.replace("-", "--")}-eth0, namespace: shop, labels: {app: ${pod}}}
spec:
  node: ${node}
  orchestrator: k8s
  pod: ${pod}
  endpoint: eth0
  interfaceName: cali${ip}
  ipNetworks: [10.65.0.${ip}/32, "fd66::${ip}/128"]
  profiles: [kns.shop]
  ${more}
---`;
const CLUSTER = `
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: host-a}
spec: {bgp: {ipv4Address: 10.0.0.11/24}}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {floatingIPs: Enabled}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: kns.shop}
spec:
  ingress: [{action: Allow}]
  egress: [{action: Allow}]
---${endpoint("host-a", "web-1", 16)}${endpoint("host-b", "db", 17, "ipNATs: [{internalIP: 10.65.0.17, externalIP: 172.16.0.17}]")}
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == 'db'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: UDP, destination: {ports: [53]}}
  - action: Allow
    protocol: TCP
    source: {selector: app == 'web-1'}
    destination: {ports: [5432, "8000:8010"]}
`;

async function run(ctl: Ctl, line: string, stdin = ""): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await policyCommand(["eval", ...line.split(" ")], {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: Readable.from([stdin]),
    connect: async () => ctl.client(),
  });
  return { code, out, err };
}
const onFiles = (line: string, text = CLUSTER): Promise<Ran> =>
  run(new Ctl(), `-f - ${line}`, text);

test("an allowed flow: the trace names what matched", async () => {
  const { code, out } = await onFiles(
    "--from shop/web-1 --to shop/db --port 5432 --source-port 999",
  );
  assert.equal(code, 0);
  assert.equal(
    out.replace(/s:[\w-]{38}/, "s:ID"),
    `tcp 10.65.0.16:999 → 10.65.0.17:5432
from  shop/web-1 (workload on host-a)
to    shop/db (workload on host-b)

egress of shop/web-1, on host-a: allow
  profile kns.shop: allow by rule 0 (matches everything)
    rule 0, allow: matches everything

ingress of shop/db, on host-b: allow
  tier default, NetworkPolicy/shop/db: allow by rule 1 (protocol, srcIpSetIds, dstPorts)
    rule 0, allow: does not match protocol udp
    rule 1, allow: matches protocol tcp and source in s:ID (selector app == 'web-1') and destination port 5432, 8000:8010

verdict: allow (nothing denies it, on host-b)
`,
  );
});

test("the same from the datastore as from files", async () => {
  const ctl = new Ctl();
  assert.equal((await ctl.run(["apply", "-f", "-"], CLUSTER)).code, 0);
  for (const port of [5432, 80]) {
    const line = `--from shop/web-1 --to shop/db --port ${port} -o json`;
    const fromStore = await run(ctl, line);
    assert.equal(fromStore.code, 0, fromStore.err);
    assert.deepEqual(JSON.parse(fromStore.out), JSON.parse((await onFiles(line)).out));
  }
});

test("a denied flow ends with the tier's default; --expect makes it an exit code", async () => {
  const line = "--from shop/web-1 --to shop/db --port 80";
  const denied = await onFiles(`${line} --expect deny`);
  assert.equal(denied.code, 0);
  assert.match(
    denied.out,
    /tier default, end: deny \(default of the tier, which applies by NetworkPolicy\/shop\/db\)/,
  );
  assert.match(denied.out, /rule 1, allow: does not match destination port 5432, 8000:8010/);
  const unexpected = await onFiles(`${line} --expect allow`);
  assert.equal(unexpected.code, 1);
  assert.equal(unexpected.err, "expected allow, but the verdict is deny\n");
});

test("JSON has every step of every node, with conditions in words", async () => {
  const { out } = await onFiles(
    "--from 203.0.113.9 --to 172.16.0.17 --port 53 -o json --protocol udp",
  );
  const answer = JSON.parse(out);
  assert.equal(answer.verdict, "allow");
  assert.equal(answer.packet.dst, "172.16.0.17");
  assert.deepEqual(answer.from, { kind: "outside", name: "203.0.113.9" });
  assert.deepEqual(
    answer.nodes.map(({ node, reason }: { node: string; reason: string }) => [node, reason]),
    [["host-b", "allowed"]],
  );
  const [step] = answer.nodes[0].parts[0].trace;
  assert.deepEqual(step.rules[0].conditions, ["protocol udp", "destination port 53"]);
});

test("node, ICMP, IPv6 and the part of one node", async () => {
  const host = await onFiles("--from shop/web-1 --to node/host-a --port 22");
  assert.match(host.out, /verdict: deny \(defaultEndpointToHostAction/);
  const returned = `${CLUSTER}---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.host-a}
spec: {defaultEndpointToHostAction: Return}
`;
  const allowed = await onFiles("--from shop/web-1 --to 10.0.0.11 --port 22", returned);
  assert.match(allowed.out, /verdict: allow/);
  const ping = await onFiles("--from web-1 --to db --protocol icmp --ip-version 6");
  assert.match(ping.out, /^icmpv6 type 128 code 0 fd66::16 → fd66::17\n/);
  const part = await onFiles("--from web-1 --to db --port 80 --node host-a");
  assert.match(part.out, /verdict: allow .*on host-a/);
  const none = await onFiles("--from web-1 --to db --port 80 --node host-c");
  assert.equal(none.code, 2);
  assert.match(none.err, /node host-c has no part in it: .* are on host-a, host-b/);
});

test("host endpoints have their say, on the interface that is meant", async () => {
  const text = `${CLUSTER}---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: uplink, labels: {host: b}}
spec: {node: host-b, interfaceName: eth1}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: by-address, labels: {host: a}}
spec: {node: host-a, expectedIPs: [10.0.0.11]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: forwarded}
spec:
  selector: host == 'b'
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Deny}]
`;
  const ask = async (line: string): Promise<string> => (await onFiles(line, text)).out;
  const without = await ask("--from web-1 --to db --port 5432");
  assert.match(without, /verdict: allow/);
  assert.match(without, /note: host-b has host endpoints for eth1: --interface NAME asks/);
  const on = await ask("--from web-1 --to db --port 5432 --interface eth1");
  assert.match(on, /ingress of forwarded packets of host endpoint uplink, on host-b: deny/);
  assert.match(on, /verdict: deny \(policy of a host endpoint, on host-b\)/);
  const toHost = await ask("--from 192.0.2.9 --to node/host-a --port 80");
  assert.match(toHost, /ingress of host endpoint by-address, on host-a: deny/);
  const ssh = await ask("--from 192.0.2.9 --to node/host-a --port 22 -o json");
  const { verdict, nodes } = JSON.parse(ssh) as {
    verdict: string;
    nodes: { reason: string; parts: { stage: string; verdict: string }[] }[];
  };
  assert.equal(verdict, "allow");
  assert.equal(nodes[0]?.reason, "failsafe");
  assert.deepEqual(
    nodes[0]?.parts.map(({ stage, verdict: outcome }) => [stage, outcome]),
    [["input", "failsafe"]],
  );
});

test("what the agent does not enforce is no answer, or one with a note", async () => {
  const last = CLUSTER.lastIndexOf("---");
  const withEndpoint = (text: string): string =>
    `${CLUSTER.slice(0, last)}---${text}${CLUSTER.slice(last + 3)}`;
  const shadow = endpoint("host-a", "web-2", 18).replace("cali18", "cali16");
  for (const line of ["--from web-2 --to 9.9.9.9", "--from 9.9.9.9 --to web-2"]) {
    const { code, err } = await onFiles(`${line} --port 80`, withEndpoint(shadow));
    assert.equal(code, 2);
    assert.equal(
      err,
      "the agent of host-a passes over shop/web-2: its interface cali16 belongs to endpoint k8s/shop/web-1/eth0\n",
    );
  }
  const first = await onFiles("--from web-1 --to 9.9.9.9 --port 80", withEndpoint(shadow));
  assert.match(first.out, /^verdict: allow/m);

  const alone = withEndpoint(endpoint("host-b", "db-2", 18).replace("cali18", "veth18"));
  const line = "--from 9.9.9.9 --to db-2 --port 80";
  const closed = `${alone}---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'db-2', types: [Ingress], ingress: [{action: Deny}]}
`;
  const unpoliced = await onFiles(line, closed);
  assert.match(unpoliced.out, /^verdict: allow/m);
  assert.match(
    unpoliced.out,
    /^note: nothing enforces the policy of shop\/db-2: interface veth18 of host-b does not begin with cali /m,
  );
  const ours = closed.replace("floatingIPs: Enabled", "interfacePrefix: 'cali,veth'");
  assert.match((await onFiles(line, ours)).out, /^verdict: deny/m);
});

test("FelixConfiguration counts as the agent reads it", async () => {
  const felix = (spec: string): string => CLUSTER.replace("floatingIPs: Enabled", spec);
  const six = "--from web-1 --to db --port 5432 --ip-version 6";
  assert.match((await onFiles(six)).out, /^verdict: allow/m);
  const off = await onFiles(six, felix("ipv6Support: false"));
  assert.match(off.out, /^verdict: deny \(ipv6Support is off, .*, on host-a\)/m);

  const floating = "--from 9.9.9.9 --to 172.16.0.17 --port 53 --protocol udp";
  assert.match((await onFiles(floating)).out, /^verdict: allow/m);
  const untranslated = await onFiles(floating, felix("floatingIPs: Disabled"));
  assert.equal(untranslated.code, 2);
  assert.match(untranslated.err, /host-b passes over 172\.16\.0\.17: floatingIPs .* is Disabled/);
  const sender = await onFiles("--from 172.16.0.17 --to 9.9.9.9 --port 80");
  assert.match(sender.out, /^tcp 10\.65\.0\.17:40000 → 9\.9\.9\.9:80/m);

  const selected = `${CLUSTER}---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: some}
spec: {nodeSelector: "rack == 'r1'", defaultEndpointToHostAction: Accept}
`.replace("{name: host-a}", "{name: host-a, labels: {rack: r1}}");
  const toHost = "--from web-1 --to node/host-a --port 22";
  assert.match((await onFiles(toHost)).out, /^verdict: deny/m);
  assert.match((await onFiles(toHost, selected)).out, /^verdict: allow/m);
  const dns = "--from web-1 --to node/host-a --port 53 --protocol udp";
  assert.match((await onFiles(dns)).out, /^verdict: deny/m);
  const openStack = felix("interfacePrefix: 'cali,tap'");
  assert.match((await onFiles(dns, openStack)).out, /^verdict: allow \(DHCP, DNS and metadata/m);
});

test("what is not clear is asked back, with exit code 2", async () => {
  const twice = CLUSTER + "---" + endpoint("host-b", "web-1", 18).replace(/---$/, "");
  const cases: readonly (readonly [string, RegExp, string?])[] = [
    ["--from shop/webb-1 --to db --port 1", /no workload is called .*; did you mean shop\/web-1\?/],
    [
      "--from shop/web-1 --to db --port 1",
      /any of 2 endpoints:\n {2}shop\/host--a-k8s-web--1-eth0 \(node host-a\)\n {2}shop\/host--b-k8s-web--1-eth0 \(node host-b\)/,
      twice,
    ],
    ["--from web-1 --to db", /--protocol tcp needs --port/],
    ["--from web-1 --to db --protocol icmp --port 1", /icmp has no ports/],
    ["--from web-1 --to db --port 1 --icmp-type 8", /need --protocol icmp/],
    ["--from web-1 --to db --port 70000", /expected a number from 0 to 65535/],
    ["--from web-1 --to db --protocol tpc --port 1", /"tpc" is no protocol/],
    ["--from web-1 --to 9.9.9.9 --port 1 --ip-version 6", /9\.9\.9\.9 has no IPv6 address/],
  ];
  for (const [line, message, text = CLUSTER] of cases) {
    const { code, out, err } = await onFiles(line, text);
    assert.equal(code, 2, line);
    assert.equal(out, "", line);
    assert.match(err, message, line);
  }
});

test("help teaches by examples", async () => {
  const { code, out } = await run(new Ctl(), "--help");
  assert.equal(code, 0);
  assert.match(out, /margay policy eval --from shop\/web-1 --to shop\/db --port 5432/);
});

interface Recorded {
  readonly resources: readonly unknown[];
  readonly arrived: readonly number[];
  readonly flows: readonly {
    readonly from: string;
    readonly to: string;
    readonly src?: string;
    readonly dst: string;
    readonly tag: number;
    readonly proto: string;
    readonly sport?: number;
    readonly dport?: number;
    readonly type?: number;
    readonly code?: number;
  }[];
}

/** The address of `mgq-p2` in the family of `like`. */
const LINK: Readonly<Record<string, readonly [string, string]>> = {
  "mgq-h": ["10.0.0.11", "2001:db8:9::11"],
  "mgq-o": ["10.0.0.99", "2001:db8:9::99"],
};
const ownAddress = (name: string, like: string): string => {
  const isV6 = like.includes(":");
  const [v4, v6] = LINK[name] ?? [];
  return (isV6 ? v6 : v4) ?? `${isV6 ? "fd66::" : "10.65.0."}${16 + Number(name.slice(-1))}`;
};

test("the recorded packets arrived where the answer is allow", () => {
  let flows = 0;
  let allowed = 0;
  for (const file of globSync("test/golden/packets/state-*.json").toSorted()) {
    const { resources, arrived, flows: all } = JSON.parse(readFileSync(file, "utf8")) as Recorded;
    const cluster = new Cluster(textsOfManifests(resources.map(validated)));
    const hasHostEndpoint = JSON.stringify(resources).includes('"HostEndpoint"');
    for (const flow of all) {
      const from = flow.src ?? ownAddress(flow.from, flow.dst);
      // A workload with another address than its own neither sends nor receives.
      if (/-p\d$/.test(flow.from) && from !== ownAddress(flow.from, flow.dst)) continue;
      if (/-p\d$/.test(flow.to) && flow.dst !== ownAddress(flow.to, flow.dst)) continue;
      const answer = evaluateFlow(cluster, {
        from,
        to: flow.dst,
        node: "host-a",
        protocol: flow.proto === "icmp6" ? "icmpv6" : flow.proto,
        ...(flow.sport === undefined ? {} : { sourcePort: flow.sport }),
        ...(flow.dport === undefined ? {} : { port: flow.dport }),
        ...(flow.type === undefined ? {} : { icmpType: flow.type }),
        ...(flow.code === undefined ? {} : { icmpCode: flow.code }),
      });
      flows++;
      const didArrive = arrived.includes(flow.tag);
      // Where policy of a host endpoint forbids neighbour discovery, no IPv6 gets over the link.
      if (!didArrive && flow.dst.includes(":") && hasHostEndpoint && isOutside(flow)) continue;
      if (didArrive) allowed++;
      assert.equal(answer.verdict === "allow", didArrive, `${file} ${JSON.stringify(flow)}`);
    }
  }
  assert.ok(flows > 2000 && allowed > 300, `${flows} flows, ${allowed} arrived`);
});

function isOutside({ from, to }: { from: string; to: string }): boolean {
  return from === "mgq-o" || to === "mgq-o";
}

function validated(resource: unknown): Resource {
  const checked = validateResource(resource);
  assert.ok(checked.ok, JSON.stringify(resource));
  return checked.value;
}

test("a stored policy that is not valid denies, and the trace says why", async () => {
  const ctl = new Ctl();
  assert.equal((await ctl.run(["apply", "-f", "-"], CLUSTER)).err, "");
  const flow = "--from shop/web-1 --to shop/db --port 5432";
  assert.match((await run(ctl, flow)).out, /^verdict: allow/m);
  const odd = { apiVersion: "projectcalico.org/v3", kind: "GlobalNetworkPolicy" };
  await ctl.store.put(
    resourcePath("GlobalNetworkPolicy", "odd"),
    JSON.stringify({
      ...odd,
      metadata: { name: "odd" },
      spec: { order: 1, selector: "app == 'db'", ingress: [{ action: "Allow", source: 5 }] },
    }),
  );
  const { out } = await run(ctl, flow);
  assert.match(out, /^verdict: deny/m);
  assert.match(out, /the policy is not valid: spec\.ingress\[0\]\.source/);
});
