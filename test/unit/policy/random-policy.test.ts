/** The generator of the differential tests: deterministic, valid where this tier can tell, varied. */
import assert from "node:assert/strict";
import test from "node:test";
import { parseCidrStrict } from "#ip";
import { parseSelector } from "#selector";
import { generateState, packetOf } from "../../support/random-policy.ts";

const SEEDS = Array.from({ length: 100 }, (_, i) => i);

/** Every value in a tree of JSON, with the name of the field that holds it. */
function* fieldsOf(value: unknown, name = ""): Generator<readonly [string, unknown]> {
  yield [name, value];
  if (Array.isArray(value)) for (const item of value) yield* fieldsOf(item, `${name}[]`);
  else if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) yield* fieldsOf(inner, key);
  }
}

test("a seed gives one state, another seed another", () => {
  assert.deepEqual(generateState(7), generateState(7));
  assert.notDeepEqual(generateState(7), generateState(8));
  assert.equal(generateState(7, { flows: 3 }).flows.length, 3);
});

test("selectors and blocks parse, names are unique, flows are packets", () => {
  for (const seed of SEEDS) {
    const { resources, flows } = generateState(seed);
    const names = new Set<string>();
    for (const resource of resources) {
      const { kind, metadata } = resource as { kind: string; metadata: Record<string, string> };
      names.add(`${kind}/${metadata["namespace"] ?? ""}/${metadata["name"]}`);
      for (const [name, value] of fieldsOf(resource)) {
        if (/selector$/i.test(name)) assert.ok(parseSelector(String(value)));
        if (/^(?:nets|notNets)\[\]$/.test(name)) assert.ok(parseCidrStrict(String(value)));
      }
    }
    assert.equal(names.size, resources.length);
    assert.equal(new Set(flows.map((flow) => flow.tag)).size, flows.length);
    for (const flow of flows) assert.notEqual(flow.from, flow.to);
    assert.equal(flows.map(packetOf).length, flows.length);
  }
});

test("every construct occurs", () => {
  const seen = new Set<string>();
  for (const seed of SEEDS) {
    const { resources, flows } = generateState(seed);
    for (const resource of resources) {
      seen.add(String(resource["kind"]));
      for (const [name] of fieldsOf(resource["spec"])) seen.add(name);
    }
    for (const { proto, dst } of flows) seen.add(`${proto}/${dst.includes(":") ? 6 : 4}`);
  }
  const wanted = [
    ["Tier", "Profile", "WorkloadEndpoint", "GlobalNetworkSet", "NetworkSet"],
    ["GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy"],
    ["order", "selector", "namespaceSelector", "serviceAccountSelector", "types"],
    ["ingress", "egress", "action", "protocol", "notProtocol", "ipVersion", "icmp", "notICMP"],
    ["code", "metadata", "nets", "notNets", "notSelector", "ports", "notPorts", "serviceAccounts"],
    ["tcp/4", "tcp/6", "udp/4", "udp/6", "sctp/4", "gre/6", "udplite/4", "icmp/4", "icmp6/6"],
  ].flat();
  assert.deepEqual(
    wanted.filter((name) => !seen.has(name)),
    [],
  );
});
