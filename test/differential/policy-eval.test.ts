/**
 * `policy eval` on manifests says of a flow what the table does that the agent would program from
 * them: policy, host endpoints, floating addresses, and the FelixConfiguration that applies.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp } from "#ip";
import { validateResource, type Resource } from "#resource";
import { MargayError } from "#std";
import { Cluster, textsOfManifests } from "../../src/ctl/policy-eval/cluster.ts";
import { evaluateFlow } from "../../src/ctl/policy-eval/evaluate-flow.ts";
import { linuxDataplaneConfig } from "../../src/felix/dataplane.ts";
import { graphSettings } from "../../src/felix/graph-settings.ts";
import { messagesOf } from "../support/in-process-agent.ts";
import {
  runForward,
  runInput,
  runOutput,
  type RunResult,
  type TestPacket,
} from "../support/nft-interpreter.ts";
import { NftWorld } from "../support/nft-world.ts";
import { generateState, packetOf } from "../support/random-policy.ts";
import type { Json } from "../support/random-rules.ts";
import { RandomSource } from "../support/random-source.ts";

const STATES = process.env["MARGAY_TEST_LONG"] === undefined ? 100 : 1500;
const NODE = "host-a";
const UPLINK = { name: "eth0", addresses: ["10.0.0.11", "2001:db8:9::11"] };
const EXTERNAL = "172.16.0.";

interface IpNat {
  readonly internalIP: string;
  readonly externalIP: string;
}

type Flow = ReturnType<typeof generateState>["flows"][number];

/** The number in the name of a workload's namespace, which its addresses and MAC end in. */
const podOf = (end: string): number | undefined =>
  /-p\d$/.test(end) ? Number(end.slice(-1)) : undefined;

function specOf(resource: Json): Json {
  return resource["spec"] as Json;
}

/** Of the node's own configuration, the default, or one that selects it. */
function randomFelixConfigurations(random: RandomSource): Json[] {
  const spec = {
    ...random.maybe(0.3, "ipv6Support", () => random.chance(0.5)),
    ...random.maybe(0.9, "floatingIPs", () => random.pick(["Enabled", "Enabled", "Disabled"])),
    ...random.maybe(0.5, "interfacePrefix", () =>
      random.pick(["cali", "cali,veth", "veth,cali", "cali,tap"]),
    ),
    ...random.maybe(0.5, "defaultEndpointToHostAction", () =>
      random.pick(["Accept", "Return", "Drop"]),
    ),
    ...random.maybe(0.3, "failsafeInboundHostPorts", () =>
      random.pick([[], [{ protocol: "UDP", port: 53 }], [{ port: 80, net: "192.0.2.0/24" }]]),
    ),
    ...random.maybe(0.3, "failsafeOutboundHostPorts", () =>
      random.pick([[], [{ protocol: "tcp", port: 5432 }]]),
    ),
    ...random.maybe(0.2, "vxlanPort", () => random.pick([53, 4789])),
    ...random.maybe(0.2, "allowVXLANPacketsFromWorkloads", () => true),
    ...random.maybe(0.2, "nftablesFilterDenyAction", () => "Reject"),
    ...random.maybe(0.2, "workloadSourceSpoofing", () => "Any"),
  };
  const of = (name: string, more: Json = {}): Json => ({
    apiVersion: "projectcalico.org/v3",
    kind: "FelixConfiguration",
    metadata: { name },
    spec: { ...more, ...spec },
  });
  return random.pick([
    [],
    [of("default")],
    [of("node.host-a")],
    [of("node.host-b")],
    [of("selected", { nodeSelector: "all()" })],
  ]);
}

/** Floating addresses, an interface that is no workload's by its name, two endpoints on one. */
function unsettle(resources: readonly Json[], random: RandomSource): Json[] {
  const shadows = random.chance(0.2);
  const renames = random.chance(0.3);
  return resources.map((resource) => {
    const spec = specOf(resource);
    if (resource["kind"] !== "WorkloadEndpoint" || spec["node"] !== NODE) return resource;
    const index = Number(String(spec["interfaceName"]).slice(-1));
    const own = `10.65.0.${16 + index}`;
    const floating: IpNat = { internalIP: own, externalIP: `${EXTERNAL}${16 + index}` };
    return {
      ...resource,
      spec: {
        ...spec,
        ...random.maybe(0.8, "ipNATs", () => [floating]),
        ...(index === 3 && shadows ? { interfaceName: "cali00000000002" } : {}),
        ...(index === 1 && renames ? { interfaceName: "veth1" } : {}),
      },
    };
  });
}

/** Some of what is for a workload is for its floating address. */
function redirected(flow: Flow, resources: readonly Json[], random: RandomSource): Flow {
  const external = resources
    .flatMap((resource) => (specOf(resource)["ipNATs"] ?? []) as IpNat[])
    .find(({ internalIP }) => internalIP === flow.dst)?.externalIP;
  return external === undefined || random.chance(0.5) ? flow : { ...flow, dst: external };
}

function validated(resource: Json): Resource {
  const checked = validateResource(resource);
  assert.ok(checked.ok, JSON.stringify(resource));
  return checked.value;
}

class Host {
  readonly cluster: Cluster;
  readonly #world: NftWorld;
  readonly #deviceByPod: ReadonlyMap<number, string>;

  constructor(resources: readonly Json[]) {
    this.cluster = new Cluster(textsOfManifests(resources.map(validated)));
    const values = this.cluster.config(NODE);
    this.#world = new NftWorld(linuxDataplaneConfig(values).policy);
    this.#world.compiler.setHostInterfaces(new Map([[UPLINK.name, UPLINK.addresses]]));
    this.#world.send(...messagesOf(resources, graphSettings(values))).flush();
    const workloads = resources
      .filter((resource) => resource["kind"] === "WorkloadEndpoint")
      .map(specOf);
    this.#deviceByPod = new Map(
      workloads.map(({ pod, interfaceName }) => [
        Number(String(pod).slice(-1)),
        String(interfaceName),
      ]),
    );
  }

  /** What the table does with the flow's first packet. */
  run(flow: Flow): RunResult {
    const { protocol, srcPort, dstPort, icmpType, icmpCode, src } = packetOf(flow);
    const sender = podOf(flow.from);
    const packet: TestPacket = {
      src: formatIp(src),
      dst: flow.dst,
      protocol,
      ...(srcPort === undefined ? {} : { sport: srcPort }),
      ...(dstPort === undefined ? {} : { dport: dstPort }),
      ...(icmpType === undefined ? {} : { icmpType }),
      ...(icmpCode === undefined ? {} : { icmpCode }),
      ...(sender === undefined ? {} : { sourceMac: `0a:00:00:00:00:0${sender}` }),
    };
    const { table } = this.#world;
    const [iifname, oifname] = [this.#deviceOf(flow.from), this.#deviceOf(flow.to)];
    if (iifname === undefined) return runOutput(table, oifname ? { ...packet, oifname } : packet);
    if (oifname === undefined) return runInput(table, { ...packet, iifname });
    return runForward(table, { ...packet, iifname, oifname });
  }

  /** Undefined: the host itself. */
  #deviceOf(end: string): string | undefined {
    const index = podOf(end);
    if (index !== undefined) return this.#deviceByPod.get(index) ?? "";
    return end === "mgq-h" ? undefined : UPLINK.name;
  }

  /** The verdict, and undefined where there is none because the agent passes over an end. */
  ask(flow: Flow): string | undefined {
    try {
      const answer = evaluateFlow(this.cluster, {
        from: flow.src,
        to: flow.dst,
        node: NODE,
        interfaceName: UPLINK.name,
        protocol: flow.proto === "icmp6" ? "icmpv6" : flow.proto,
        ...(flow.dport === undefined ? {} : { port: flow.dport }),
        ...(flow.sport === undefined ? {} : { sourcePort: flow.sport }),
        ...(flow.type === undefined ? {} : { icmpType: flow.type, icmpCode: flow.code ?? 0 }),
      });
      return answer.verdict;
    } catch (error) {
      if (error instanceof MargayError && error.code === "no-endpoint") return undefined;
      throw error;
    }
  }
}

test(`policy eval = the table, ${STATES} random clusters`, () => {
  const base = Number(process.env["MARGAY_TEST_SEED"] ?? 1);
  const seen = { allow: 0, deny: 0, floating: 0, unasked: 0 };
  for (let seed = base; seed < base + STATES; seed++) {
    const random = new RandomSource(seed);
    const state = generateState(seed, { flows: 150 });
    const configurations = randomFelixConfigurations(random);
    const resources = [...unsettle(state.resources, random), ...configurations];
    const host = new Host(resources);
    for (const plain of state.flows) {
      const flow = redirected(plain, resources, random);
      const said = host.ask(flow);
      const { verdict, packet, hits } = host.run(flow);
      const did = verdict === "accept" ? "allow" : "deny";
      if (said === undefined) {
        seen.unasked++;
        continue;
      }
      seen[did]++;
      if (packet.destinationTranslated === true) seen.floating++;
      const what = `seed ${seed} ${JSON.stringify(flow)}\n${JSON.stringify(configurations)}\n${hits.join(" | ")}`;
      assert.equal(said, did, what);
    }
  }
  assert.ok(Math.min(...Object.values(seen)) > STATES / 3, JSON.stringify(seen));
});
