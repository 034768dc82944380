/** Single values: durations, ports, numbers; unknown fields; hostile values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  canonicalPort,
  decodeStored,
  encodeStored,
  formatDuration,
  kindByAlias,
  KINDS,
  parseDuration,
  parsePort,
  parseResourcePath,
  resourcePath,
  toYaml,
  validateResource,
  withDerivedMetadata,
  withoutBookkeeping,
} from "#resource";

test("durations read and print as Go's", () => {
  for (const [text, printed] of [
    ["90s", "1m30s"],
    ["5m", "5m0s"],
    ["1h", "1h0m0s"],
    ["1.5h", "1h30m0s"],
    ["250ms", "250ms"],
    ["1.25s", "1.25s"],
    ["100us", "100µs"],
    ["7ns", "7ns"],
    ["0", "0s"],
    ["-1m", "-1m0s"],
    ["1h1m1.001s", "1h1m1.001s"],
  ] as const) {
    const nanoseconds = parseDuration(text);
    assert.ok(nanoseconds !== undefined, text);
    assert.equal(formatDuration(nanoseconds), printed);
  }
  for (const text of ["", "90", "s", "1x", "1m 30s", "90 s", "1.2.3s"]) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

test("every duration survives printing", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }), (nanoseconds) => {
      assert.equal(parseDuration(formatDuration(nanoseconds)), nanoseconds);
    }),
  );
});

test("ports keep one spelling", () => {
  const spelt = (value: number | string): number | string => {
    const port = parsePort(value);
    return typeof port === "string" ? `refused: ${port}` : canonicalPort(port);
  };
  assert.equal(spelt("80"), 80);
  assert.equal(spelt("80:80"), 80);
  assert.equal(spelt("8000:8100"), "8000:8100");
  assert.equal(spelt("http-alt"), "http-alt");
  for (const bad of [0, 65536, 1.5, "65536", "2:1", "a b", ""]) {
    assert.match(String(spelt(bad)), /^refused/, String(bad));
  }
});

const policy = (spec: object, metadata: object = {}): string =>
  JSON.stringify({
    kind: "NetworkPolicy",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "x", namespace: "n", ...metadata },
    spec,
  });

test("fields of a newer version survive reading and writing", () => {
  const text = policy(
    {
      tier: "default",
      ingress: [{ action: "Allow", newMatch: { a: [1] } }],
      types: ["Ingress"],
      newField: "<&>",
    },
    { uid: "u", newMeta: true },
  );
  const again = encodeStored(decodeStored(text));
  assert.deepEqual(JSON.parse(again), JSON.parse(text));
  assert.ok(again.includes('"newField":"\\u003c\\u0026\\u003e"'));
});

test("defaults that an older writer left out are filled in", () => {
  const { spec } = decodeStored(policy({ egress: [{ action: "Deny" }] }));
  assert.deepEqual(spec, { tier: "default", egress: [{ action: "Deny" }], types: ["Egress"] });
});

test("settings are stored with Calico's defaults, in its order", () => {
  const stored = (kind: string, spec: object): unknown => {
    const head = { apiVersion: "projectcalico.org/v3", kind, metadata: { name: "default" } };
    const checked = validateResource({ ...head, spec }, { unknownFields: "error" });
    assert.ok(checked.ok, JSON.stringify(checked));
    return /"spec":(.*?)(,"status":\{\})?\}$/.exec(encodeStored(checked.value))?.[1];
  };
  assert.equal(
    stored("BGPConfiguration", { nodeMeshPassword: { secretKeyRef: { key: "k" } } }),
    '{"logSeverityScreen":"Info","serviceLoadBalancerAggregation":"Enabled",' +
      '"nodeMeshPassword":{"secretKeyRef":{"name":"","key":"k"}}}',
  );
  assert.equal(
    stored("KubeControllersConfiguration", {
      debugProfilePort: 0,
      controllers: {
        policyMigration: {},
        loadBalancer: {},
        node: { hostEndpoint: { templates: [{ labels: { b: "1" }, generateName: "x" }] } },
      },
      etcdV3CompactionPeriod: "0s",
    }),
    '{"healthChecks":"Enabled","etcdV3CompactionPeriod":"0s","prometheusMetricsPort":9094,' +
      '"controllers":{"node":{"hostEndpoint":{"templates":[{"generateName":"x","labels":{"b":"1"}}]}},' +
      '"loadBalancer":{"assignIPs":"AllServices"},"policyMigration":{"enabled":"Enabled"}},"debugProfilePort":0}',
  );
});

test("parts that others write are stored in the order of their structs", () => {
  const stored = (kind: string, spec: object, more: object = {}): string => {
    const metadata = { ...more, name: "default" };
    const head = { apiVersion: "projectcalico.org/v3", kind, metadata };
    const checked = validateResource({ ...head, spec }, { unknownFields: "error" });
    assert.ok(checked.ok, JSON.stringify(checked));
    return encodeStored(checked.value);
  };
  const owner = { uid: "u", controller: false, name: "n", kind: "K", apiVersion: "v1" };
  assert.match(
    stored("Profile", {}, { finalizers: ["f"], ownerReferences: [owner] }),
    /"ownerReferences":\[\{"apiVersion":"v1","kind":"K","name":"n","uid":"u","controller":false\}\],"finalizers":\["f"\]/,
  );
  assert.match(
    stored("Node", { interfaces: [{ addresses: ["10.0.0.1"], name: "eth0" }] }),
    /"interfaces":\[\{"name":"eth0","addresses":\["10\.0\.0\.1"\]\}\]/,
  );
  assert.match(
    stored("FelixConfiguration", {
      bpfConntrackTimeouts: { udpTimeout: "60s", creationGracePeriod: "Auto" },
    }),
    /"bpfConntrackTimeouts":\{"creationGracePeriod":"Auto","udpTimeout":"60s"\}/,
  );
});

test("maps are stored by key in byte order, whole numbers as keys too", () => {
  const text = encodeStored(
    decodeStored(policy({}, { labels: { b: "1", "10": "x", "9": "y", a: "2" } })),
  );
  assert.ok(text.includes('"labels":{"10":"x","9":"y","a":"2","b":"1"}'), text);
});

test("what the writer derives is not shown to the reader", () => {
  const read = decodeStored(policy({}, { annotations: { note: "n" } }));
  const written = withDerivedMetadata(read);
  assert.equal(written.metadata.labels?.["projectcalico.org/tier"], "default");
  assert.equal(written.metadata.annotations?.["projectcalico.org/metadata"], '{"name":"x"}');
  assert.deepEqual(withoutBookkeeping(written).metadata.annotations, { note: "n" });
  assert.deepEqual(withDerivedMetadata(written), written);
});

test("a stored value nested by the hundred thousand is refused", () => {
  const text = policy({ newField: 0 }).replace(
    "0}",
    `${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
  );
  assert.throws(() => decodeStored(text), { code: "invalid-resource" });
});

test("keys that JavaScript treats specially change nothing", () => {
  const hostile = `{"kind":"GlobalNetworkSet","apiVersion":"projectcalico.org/v3","__proto__":{"polluted":1},
    "metadata":{"name":"x","annotations":{"__proto__":"a"}},"spec":{"__proto__":{"nets":["10.0.0.0/8"]}}}`;
  const refused = validateResource(JSON.parse(hostile));
  assert.ok(!refused.ok);
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("paths of odd names come back, and other keys are no resources", () => {
  const path = resourcePath("NetworkPolicy", "a/b%", "n");
  assert.deepEqual(parseResourcePath(path), {
    kind: "NetworkPolicy",
    name: "a/b%",
    namespace: "n",
  });
  for (const other of [
    "/calico/ipam/v2/config",
    "/calico/resources/v3/projectcalico.org/unknownkinds/x",
    "/calico/resources/v3/projectcalico.org/networkpolicies/x",
    "/calico/resources/v3/projectcalico.org/tiers/a/b",
    "/calico/resources/v3/projectcalico.org/tiers/",
  ]) {
    assert.equal(parseResourcePath(other), undefined, other);
  }
});

test("every alias names one kind", () => {
  const seen = new Map<string, string>();
  for (const info of KINDS) {
    for (const alias of new Set([info.kind.toLowerCase(), info.plural, ...info.shortNames])) {
      assert.equal(
        seen.get(alias),
        undefined,
        `${alias} is of ${seen.get(alias) ?? ""} and ${info.kind}`,
      );
      seen.set(alias, info.kind);
      assert.equal(kindByAlias(alias.toUpperCase())?.kind, info.kind);
    }
  }
  assert.equal(kindByAlias("globalNetworkPolicies")?.kind, "GlobalNetworkPolicy");
  assert.equal(kindByAlias("global-network-policy")?.kind, "GlobalNetworkPolicy");
});

test("YAML quotes what other readers would take for something else", () => {
  const text = toYaml({
    b: ["10", "2:3", "no", "y", "", "a: b", "*"],
    a: { z: 1, y: "2026-11-23T02:20:00Z" },
  });
  assert.equal(
    text,
    'a:\n  "y": "2026-11-23T02:20:00Z"\n  z: 1\nb:\n- "10"\n- "2:3"\n- "no"\n- "y"\n- ""\n- "a: b"\n- "*"\n',
  );
});

test("any JSON is validated without a crash, and a second validation changes nothing", () => {
  const kinds = fc.constantFrom(...KINDS.map((info) => info.kind));
  const field = fc.constantFrom(
    "selector",
    "ingress",
    "types",
    "cidr",
    "nets",
    "order",
    "tier",
    "ports",
    "bgp",
    "x",
  );
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(field, tie("node"), { maxKeys: 4 }),
      fc.array(tie("node"), { maxLength: 3 }),
    ),
  })).node;
  fc.assert(
    fc.property(
      kinds,
      tree,
      fc.constantFrom("error" as const, "keep" as const),
      (kind, spec, unknownFields) => {
        const value = {
          apiVersion: "projectcalico.org/v3",
          kind,
          metadata: { name: "default", namespace: "n" },
          spec,
        };
        const result = validateResource(value, { unknownFields });
        if (!result.ok) return assert.ok(result.errors.length > 0);
        const text = encodeStored(result.value);
        assert.equal(encodeStored(decodeStored(text)), text);
      },
    ),
    { numRuns: 1000 },
  );
});
