/** StagedKubernetesNetworkPolicy → model: selectors, types, rules per protocol and peer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ModelPolicy } from "#model";
import { stored } from "../../support/graph.ts";

function converted(spec: object): ModelPolicy {
  const [update] = stored("stagedkubernetesnetworkpolicies", "ns/p", {
    apiVersion: "projectcalico.org/v3",
    kind: "StagedKubernetesNetworkPolicy",
    metadata: { name: "p", namespace: "ns" },
    spec,
  });
  assert.ok(update?.value);
  assert.deepEqual(update.key, {
    kind: "Policy",
    policyKind: "StagedKubernetesNetworkPolicy",
    namespace: "ns",
    name: "p",
  });
  return update.value as ModelPolicy;
}

test("the pod selector, of the policy's namespace; ingress unless it says otherwise", () => {
  const podSelector = {
    matchLabels: { z: "1", app: "web" },
    matchExpressions: [
      { key: "env", operator: "In", values: ["a", "b"] },
      { key: "gone", operator: "DoesNotExist" },
    ],
  };
  const policy = converted({ podSelector, egress: [{}] });
  assert.equal(
    policy.selector,
    '((projectcalico.org/orchestrator == "k8s" && app == "web" && z == "1" && env in {"a", "b"} && !has(gone)) && projectcalico.org/namespace == "ns")',
  );
  assert.deepEqual([policy.order, policy.tier, policy.staged], [1000, "default", true]);
  assert.deepEqual(policy.types, ["ingress"]);
  assert.deepEqual(converted({ policyTypes: ["Egress"] }).types, ["egress"]);
});

test("one rule per protocol and peer, ports in ranges; no peers and no ports: everything", () => {
  const policy = converted({
    policyTypes: ["Ingress", "Egress"],
    ingress: [
      {
        from: [
          { podSelector: { matchLabels: { app: "db" } }, namespaceSelector: {} },
          { ipBlock: { cidr: "10.1.2.3/8", except: ["10.1.0.0/16"] } },
        ],
        ports: [
          { port: 81 },
          { port: 80 },
          { port: "http" },
          { port: 8000, endPort: 8010 },
          { protocol: "UDP" },
          { protocol: "UDP", port: 53 },
        ],
      },
    ],
    egress: [{}],
  });
  const seen = policy.inboundRules.map(({ protocol, source, destination }) => [
    protocol,
    source.selector || source.nets,
    source.notNets,
    destination.ports,
  ]);
  const tcp = [{ name: "http" }, { first: 80, last: 81 }, { first: 8000, last: 8010 }];
  const pods =
    "(has(projectcalico.org/namespace)) && (projectcalico.org/orchestrator == 'k8s' && app == 'db')";
  assert.deepEqual(seen, [
    [{ name: "tcp" }, pods, [], tcp],
    [{ name: "tcp" }, ["10.0.0.0/8"], ["10.1.0.0/16"], tcp],
    [{ name: "udp" }, pods, [], []],
    [{ name: "udp" }, ["10.0.0.0/8"], ["10.1.0.0/16"], []],
  ]);
  const [all, ...others] = policy.outboundRules;
  assert.deepEqual([all?.action, all?.protocol, others], ["allow", undefined, []]);
});

test("a rule that cannot be converted is left out; a selector that cannot is an error", () => {
  const policy = converted({
    ingress: [
      { ports: [{ port: 70000 }] },
      { from: [{ podSelector: { matchLabels: { a: "'" } } }] },
    ],
  });
  assert.deepEqual(policy.inboundRules, []);
  assert.throws(() => converted({ podSelector: { matchLabels: { a: "x' || has(y" } } }), {
    code: "bad-kubernetes-policy",
  });
});
