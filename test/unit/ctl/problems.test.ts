/** Policies that deny because they cannot be enforced, or read, are seen with the commands. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { resourcePath } from "#resource";
import { Ctl } from "./harness.ts";

const manifest = (kind: string, name: string, spec: object, more: object = {}): string =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name, ...more },
    spec,
  });
const http = { ingress: [{ action: "Allow", http: { methods: ["GET"] } }] };
const service = {
  egress: [{ action: "Deny", destination: { services: { name: "s", namespace: "n" } } }],
};
const allow = { ingress: [{ action: "Allow" }] };

async function prepared(): Promise<Ctl> {
  const ctl = new Ctl();
  for (const text of [
    manifest("GlobalNetworkPolicy", "plain", allow),
    manifest("GlobalNetworkPolicy", "web", http),
    manifest("GlobalNetworkPolicy", "service", service),
    manifest("NetworkPolicy", "plain", allow, { namespace: "n" }),
    manifest("StagedGlobalNetworkPolicy", "later", http),
    manifest("Profile", "web", http),
  ]) {
    assert.equal((await ctl.run(["apply", "-f", "-"], text)).err, "");
  }
  return ctl;
}

test("get -o wide has a last column where a policy denies, and only there", async () => {
  const ctl = await prepared();
  const { code, out } = await ctl.run(["get", "gnp", "-o", "wide"]);
  assert.equal(code, 0);
  const lines = out.split("\n").map((line) => line.trimEnd());
  assert.match(lines[0] ?? "", /^NAME +TIER +ORDER +SELECTOR +PROBLEM$/);
  assert.match(lines[1] ?? "", /^plain +default +<nil>$/);
  assert.match(
    lines[2] ?? "",
    /^service .*denies: cannot be enforced: spec\.egress\[0\]\.destination\.services$/,
  );
  assert.match(lines[3] ?? "", /^web .*denies: cannot be enforced: spec\.ingress\[0\]\.http$/);
  for (const kind of ["np", "sgnp", "tier"]) {
    assert.doesNotMatch((await ctl.run(["get", kind, "-A", "-o", "wide"])).out, /PROBLEM/);
  }
  assert.doesNotMatch((await ctl.run(["get", "gnp"])).out, /PROBLEM/);
  assert.match((await ctl.run(["get", "profile", "-o", "wide"])).out, /web +denies: .*http/);
  const custom = await ctl.run(["get", "gnp", "web", "-o", "custom-columns=NAME,PROBLEM"]);
  assert.match(custom.out, /^web +denies/m);
});

test("a rule by service is decided once the datastore has endpoints of services", async () => {
  const ctl = await prepared();
  await ctl.store.put(
    "/calico/resources/v3/projectcalico.org/kubernetesendpointslices/n/s-1",
    JSON.stringify({
      metadata: { labels: { "kubernetes.io/service-name": "s" } },
      endpoints: [{ addresses: ["10.0.0.1"] }],
      ports: [{ port: 80 }],
    }),
  );
  const { out } = await ctl.run(["get", "gnp", "-o", "wide"]);
  assert.doesNotMatch(out, /services/);
  assert.match(out, /http/);
});

test("a stored policy that is not valid is named, and what it does", async () => {
  const ctl = await prepared();
  const key = resourcePath("GlobalNetworkPolicy", "odd");
  await ctl.store.put(
    key,
    manifest("GlobalNetworkPolicy", "odd", { ingress: [{ action: "Perhaps" }] }),
  );
  const { code, out, err } = await ctl.run(["get", "gnp", "-o", "wide"]);
  assert.equal(code, 1);
  assert.match(out, /^web /m, "the others are shown");
  assert.match(
    err,
    /globalnetworkpolicies\/odd: .*"Perhaps" is not known.*it denies where it applies/,
  );
});

test("validate --datastore names everything that is not taken as it is written", async () => {
  const ctl = await prepared();
  for (const name of ["web", "service"]) await ctl.run(["delete", "gnp", name]);
  await ctl.run(["delete", "profile", "web"]);
  const fine = await ctl.run(["validate", "--datastore"]);
  assert.equal(fine.err, "");
  assert.match(fine.out, /^Successfully validated \d+ resource\(s\) of the datastore$/m);
  const key = resourcePath("GlobalNetworkSet", "odd");
  await ctl.store.put(key, manifest("GlobalNetworkSet", "odd", { nets: ["nonsense"] }));
  await ctl.run(["apply", "-f", "-"], manifest("NetworkPolicy", "web", http, { namespace: "n" }));
  const { code, out, err } = await ctl.run(["validate", "--datastore"]);
  assert.deepEqual([code, out], [1, ""]);
  assert.match(err, /globalnetworksets\/odd: spec\.nets\[0\]: .*its valid members count$/m);
  assert.match(
    err,
    /^NetworkPolicy\(n\/web\): denies: cannot be enforced: spec\.ingress\[0\]\.http$/m,
  );
  assert.equal((await ctl.run(["validate"])).code, 1);
  assert.match((await ctl.run(["validate", "--datastore", "-f", "x"])).err, /--datastore/);
});
