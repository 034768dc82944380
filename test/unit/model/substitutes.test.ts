/** Objects of the datastore that are not valid, where absence would allow what they deny. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph, type ToDataplane } from "#calc";
import { ModelConverter, type ModelPolicy } from "#model";
import { resourcePath } from "#resource";
import { messageOf } from "#std";

const value = (spec: unknown, more: object = {}): string =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkPolicy",
    metadata: { name: "p" },
    spec,
    ...more,
  });
const PATH = resourcePath("GlobalNetworkPolicy", "p");

/** As the syncer does it. */
function substituted(text: string, path = PATH): ModelPolicy | undefined {
  const converter = new ModelConverter();
  try {
    converter.convert(path, text);
  } catch (error) {
    const [update] = converter.convertInvalid(path, text, messageOf(error));
    return update?.value === null ? undefined : (update?.value as ModelPolicy | undefined);
  }
  throw new Error("it is valid");
}

const DENY = { action: "Deny", source: { nets: ["nonsense"] } };

test("a rule that cannot be read makes the policy deny where it applies", () => {
  const policy = substituted(
    value({ tier: "t", order: 5, selector: "a == 'b'", ingress: [DENY], egress: [DENY] }),
  );
  assert.ok(policy);
  assert.deepEqual(
    [policy.tier, policy.order, policy.selector, policy.types],
    ["t", 5, 'a == "b"', ["ingress", "egress"]],
  );
  assert.deepEqual([policy.inboundRules, policy.outboundRules], [[], []]);
  assert.match(policy.broken ?? "", /not valid: .*nets\[0\].*nonsense/);
});

test("what says when it applies may be unreadable too, and whom not", () => {
  const types = (spec: object): unknown => substituted(value(spec))?.types;
  assert.deepEqual(types({ ingress: "x" }), ["ingress"]);
  assert.deepEqual(types({ egress: {} }), ["egress"]);
  assert.deepEqual(types({ types: ["Sideways"], egress: [{ action: "Allow" }] }), ["egress"]);
  assert.deepEqual(types({ types: ["Egress"], ingress: 5 }), ["egress"]);
  assert.deepEqual(types({ order: "soon", ingress: [{ action: "Allow" }] }), ["ingress"]);
  assert.equal(substituted(value({ tier: 7 }))?.tier, "default");
  assert.equal(substituted(value({ doNotTrack: true, ingress: [] }))?.doNotTrack, false);
  assert.equal(substituted(value({ selector: "a ==", ingress: [] })), undefined);
  assert.equal(substituted(value({ namespaceSelector: 5, ingress: [] })), undefined);
});

test("with its metadata alone at fault it does what it says", () => {
  const policy = substituted(
    value({ ingress: [{ action: "Allow" }] }, { metadata: { name: "p", labels: { a: 5 } } }),
  );
  assert.equal(policy?.broken, undefined);
  assert.equal(policy?.inboundRules.length, 1);
});

test("values of another kind, without a spec or no JSON at all are absent", () => {
  for (const text of [
    value({}, { kind: "GlobalNetworkSet" }),
    value(undefined, { metadata: {} }),
    value([]),
    "{",
    "5",
  ]) {
    assert.equal(substituted(text), undefined, text);
  }
  const tier = value({ order: "x" }, { kind: "Tier" });
  assert.equal(substituted(tier, resourcePath("Tier", "p")), undefined);
});

test("a network set keeps the members that are valid", () => {
  const converter = new ModelConverter();
  const set = (nets: unknown, labels: unknown): unknown => {
    const path = resourcePath("GlobalNetworkSet", "s");
    const text = value({ nets }, { kind: "GlobalNetworkSet", metadata: { name: "s", labels } });
    assert.throws(() => converter.convert(path, text));
    return converter.convertInvalid(path, text, "")[0]?.value;
  };
  const labels = { a: "b" };
  assert.deepEqual(set(["10.0.0.0/8", "10.0.0.0/33", 5, "fd00::1"], labels), {
    labels,
    nets: ["10.0.0.0/8", "fd00::1/128"],
    profileIds: [],
  });
  assert.deepEqual(set("10.0.0.0/8", labels), { labels, nets: [], profileIds: [] });
  // Whose it is cannot be read: that of nobody.
  assert.equal(set(["10.0.0.0/8"], { "a b": "c" }), null);
});

test("staged policies enforce nothing, whether valid or not", () => {
  const path = resourcePath("StagedGlobalNetworkPolicy", "p");
  assert.equal(
    substituted(value({ ingress: [DENY] }, { kind: "StagedGlobalNetworkPolicy" }), path),
    undefined,
  );
});

test("the dataplane is told that it denies, and the policy again when it is mended", () => {
  const converter = new ModelConverter();
  const graph = new CalcGraph({ hostname: "host" });
  const told = (): readonly ToDataplane[] => [...graph.flush()];
  const policyOf = (messages: readonly ToDataplane[]): unknown =>
    messages.flatMap((one) => (one.case === "activePolicyUpdate" ? [one.value.policy] : []))[0];
  const tell = (text: string): readonly ToDataplane[] => {
    try {
      graph.onUpdates(converter.convert(PATH, text));
    } catch (error) {
      graph.onUpdates(converter.convertInvalid(PATH, text, messageOf(error)));
    }
    return told();
  };
  graph.onStatus("in-sync");
  const hints = ["AssumeNeededOnEveryNode"];
  const endpoint = JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "HostEndpoint",
    metadata: { name: "h" },
    spec: { node: "host", interfaceName: "eth0" },
  });
  graph.onUpdates(converter.convert(resourcePath("HostEndpoint", "h"), endpoint));
  const broken = policyOf(tell(value({ ingress: [{ action: "Perhaps" }] })));
  assert.match(JSON.stringify(broken), /"unsupported":\["the policy is not valid: .*Perhaps/);
  const mended = policyOf(tell(value({ ingress: [{ action: "Allow" }], performanceHints: hints })));
  assert.equal((mended as { unsupported?: unknown }).unsupported, undefined);
});
