/** The command line: files and directories, what is refused, labels, patches, output. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { datastoreSettings } from "#ctl";
import { Ctl } from "./harness.ts";

function directory(t: TestContext, files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), "mgy-ctl-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

const manifest = (kind: string, name: string, spec: object, namespace?: string): string =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    spec,
  });
const set = (name: string, nets: readonly string[] = []): string =>
  manifest("GlobalNetworkSet", name, { nets });

test("a directory is read in order; -R reads what is below", async (t) => {
  const path = directory(t, {
    "a.yaml": set("a"),
    "b.json": set("b"),
    "sub/c.yml": set("c"),
    "note.txt": "no",
  });
  const ctl = new Ctl();
  assert.match((await ctl.run(["apply", "-f", path])).out, /applied 2 'GlobalNetworkSet'/);
  assert.match((await ctl.run(["apply", "-f", path, "-R"])).out, /applied 3 'GlobalNetworkSet'/);
  const empty = await ctl.run(["apply", "-f", join(path, "sub", "..", "none")]);
  assert.equal(empty.code, 1);
  assert.match(empty.err, /cannot read/);
  const { code, err } = await ctl.run(["apply", "-f", directory(t, { "sub/c.yaml": set("c") })]);
  assert.equal(code, 1);
  assert.match(err, /-R looks in its directories too/);
});

test("one fault anywhere, and nothing at all is written", async (t) => {
  const path = directory(t, {
    "a.yaml": set("a"),
    "b.yaml": set("b", ["10.0.0.0/33"]),
    "c.yaml": set("C"),
  });
  const ctl = new Ctl();
  const { code, out, err } = await ctl.run(["apply", "-f", path]);
  assert.equal(code, 1);
  assert.equal(out, "");
  assert.match(err, /b\.yaml:1:\d+: spec\.nets\[0\]/);
  assert.match(err, /c\.yaml:1:\d+: metadata\.name.*did you mean c\?/);
  assert.match(err, /2 faults; nothing was done/);
  assert.deepEqual((await ctl.store.list("/")).kvs, []);
});

test("tiers are written before the policies that come first in the file", async () => {
  const ctl = new Ctl();
  const text = `${manifest("GlobalNetworkPolicy", "p", { tier: "t" })}\n---\n${manifest("Tier", "t", { order: 1 })}`;
  assert.equal(
    (await ctl.run(["create", "-f", "-"], text)).out,
    "Successfully created 2 resource(s)\n",
  );
  const deleted = await ctl.run(["delete", "-f", "-"], text);
  assert.equal(deleted.out, "Successfully deleted 2 resource(s)\n");
});

test("a write that fails half-way says how far it came", async () => {
  const ctl = new Ctl();
  await ctl.run(["create", "-f", "-"], set("b"));
  const { code, err } = await ctl.run(
    ["create", "-f", "-"],
    [set("a"), set("b"), set("c")].join("\n---\n"),
  );
  assert.equal(code, 1);
  assert.match(
    err,
    /Partial success: created the first 1 out of 3 'GlobalNetworkSet' resources\nHit error: \[resource already exists/,
  );
});

test("an unreachable store is an error message, not a crash", async () => {
  const ctl = new Ctl();
  ctl.store.setFault("unavailable");
  for (const args of [
    ["get", "nodes"],
    ["apply", "-f", "-"],
    ["delete", "node", "a"],
  ]) {
    const { code, err } = await ctl.run(args, set("a"));
    assert.equal(code, 1, args.join(" "));
    assert.ok(err.trim().length > 0, args.join(" "));
  }
});

test("names that are not there: exit 1, and the others are shown", async () => {
  const ctl = new Ctl();
  await ctl.run(
    ["apply", "-f", "-"],
    `${manifest("NetworkPolicy", "p", {}, "shop")}\n---\n${manifest("NetworkPolicy", "q", {})}`,
  );
  const { code, out, err } = await ctl.run(["get", "np", "q", "p"]);
  assert.equal(code, 1);
  assert.match(out, /^NAME +TIER +\nq +default/);
  assert.match(err, /NetworkPolicy\(default\/p\) \(there is one in namespace shop\)/);
  const missing = await ctl.run(["delete", "np", "none", "--skip-not-exists"]);
  assert.equal(missing.code, 0);
  assert.match((await ctl.run(["get", "netwrkpolicies"])).err, /did you mean NetworkPolicy\?/);
  assert.match((await ctl.run(["get", "np", "-o", "yml"])).err, /did you mean yaml\?/);
  assert.match(
    (await ctl.run(["get", "np", "-o", "custom-columns=NAME,TEIR"])).err,
    /did you mean TIER\?/,
  );
  assert.equal((await ctl.run(["get"])).code, 1);
  assert.equal((await ctl.run(["get", "np", "--nope"])).code, 1);
});

test("a list in JSON and YAML is one document", async () => {
  const ctl = new Ctl();
  await ctl.run(["apply", "-f", "-"], `${set("a")}\n---\n${set("b")}`);
  const listed = JSON.parse((await ctl.run(["get", "gns", "-o", "json"])).out) as {
    kind: string;
    items: { metadata: { name: string; uid?: string } }[];
  };
  assert.equal(listed.kind, "GlobalNetworkSetList");
  assert.deepEqual(
    listed.items.map((one) => one.metadata.name),
    ["a", "b"],
  );
  const exported = JSON.parse(
    (await ctl.run(["get", "gns", "a", "-o", "json", "--export"])).out,
  ) as {
    metadata: object;
  };
  assert.deepEqual(exported.metadata, { name: "a" });
  assert.match(
    (await ctl.run(["get", "gns", "-o", "yaml"])).out,
    /^apiVersion: projectcalico.org\/v3\nitems:\n- apiVersion/,
  );
  assert.equal(
    (await ctl.run(["get", "gns,tier", "-o", "name"])).out.split("\n")[0],
    "globalnetworkset/a",
  );
});

test("labels: a value that is no label value is refused; unknown fields stay", async () => {
  const ctl = new Ctl();
  await ctl.run(["create", "-f", "-"], set("a"));
  const key = "/calico/resources/v3/projectcalico.org/globalnetworksets/a";
  const { kv } = await ctl.store.get(key);
  await ctl.store.put(key, (kv?.value ?? "").replace('"spec":{', '"spec":{"newer":[1]'));
  assert.equal((await ctl.run(["label", "gns", "a", "x=b c"])).code, 1);
  assert.equal((await ctl.run(["label", "gns", "a", "x=y"])).code, 0);
  const stored = JSON.parse((await ctl.store.get(key)).kv?.value ?? "") as {
    spec: object;
    metadata: { labels: object };
  };
  assert.deepEqual(stored.spec, { newer: [1] });
  assert.deepEqual(stored.metadata.labels, { x: "y" });
  assert.match((await ctl.run(["label", "gns", "a", "x"])).err, /expected key=value/);
  assert.match((await ctl.run(["label", "gns", "a", "z", "--remove"])).err, /does not exist/);
});

test("patches: merge and JSON, checked before they are written", async () => {
  const ctl = new Ctl();
  await ctl.run(["create", "-f", "-"], set("a", ["10.0.0.0/8"]));
  const nets = async (): Promise<unknown> =>
    (
      JSON.parse((await ctl.run(["get", "gns", "a", "-o", "json"])).out) as {
        spec: { nets: unknown };
      }
    ).spec.nets;
  const patch = (...args: string[]) => ctl.run(["patch", "gns", "a", ...args]);
  assert.equal((await patch("-p", '{"spec":{"nets":["192.0.2.0/24"]}}')).code, 0);
  assert.deepEqual(await nets(), ["192.0.2.0/24"]);
  assert.equal(
    (await patch("-t", "json", "-p", '[{"op":"add","path":"/spec/nets/-","value":"10.0.0.0/8"}]'))
      .code,
    0,
  );
  assert.deepEqual(await nets(), ["192.0.2.0/24", "10.0.0.0/8"]);
  for (const [args, message] of [
    [["-p", "spec: {net: []}"], /did you mean nets\?/],
    [["-p", "metadata: {name: b}"], /cannot change/],
    [["-t", "json", "-p", '[{"op":"remove","path":"/spec/nets/9"}]'], /no item 9/],
    [["-t", "json", "-p", '[{"op":"test","path":"/spec/nets/0","value":"x"}]'], /is "192/],
    [["-t", "mrege", "-p", "{}"], /did you mean merge\?/],
  ] as const) {
    const { code, err } = await patch(...args);
    assert.equal(code, 1);
    assert.match(err, message);
  }
  assert.deepEqual(await nets(), ["192.0.2.0/24", "10.0.0.0/8"]);
});

test("many resources: progress on a terminal, silence in a pipe", async () => {
  const text = Array.from({ length: 30 }, (_, index) => set(`s${index}`)).join("\n---\n");
  const piped = await new Ctl().run(["apply", "-f", "-"], text);
  assert.equal(piped.err, "");
  const ctl = new Ctl();
  ctl.terminal = true;
  const shown = await ctl.run(["apply", "-f", "-"], text);
  assert.match(shown.err, /^\rapplied \d+ of 30/);
  assert.ok(shown.err.endsWith("\r\u001B[K"), "the line is cleared at the end");
  assert.equal(shown.out, piped.out);
});

test("every command's help has an example and exits 0", async () => {
  const ctl = new Ctl();
  for (const name of [
    "get",
    "create",
    "apply",
    "replace",
    "delete",
    "label",
    "patch",
    "validate",
  ]) {
    const { code, out } = await ctl.run([name, "--help"]);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`Examples:\n  margay ${name} `));
  }
});

test("validate needs no datastore", async () => {
  const ctl = new Ctl();
  assert.equal(
    (await ctl.run(["validate", "-f", "-"], set("a"))).out,
    "Successfully validated 1 'GlobalNetworkSet' resource(s)\n",
  );
  assert.equal((await ctl.run(["validate", "-f", "-"], "")).code, 1);
  assert.equal((await ctl.run(["validate", "-f", "-", "--skip-empty"], "")).code, 0);
  assert.equal(ctl.connections, 0);
});

test("a CalicoAPIConfig file names the datastore; a slip in it is told", async (t) => {
  const path = directory(t, {
    "good.cfg":
      "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: etcdv3\n  etcdEndpoints: http://a:2379,http://b:2379\n  etcdUsername: u\n",
    "slip.cfg": "kind: CalicoAPIConfig\nspec: {etcdEndpoint: http://a:2379}\n",
    "other.cfg": "kind: Other\n",
  });
  const settings = await datastoreSettings(join(path, "good.cfg"), {
    ETCD_ENDPOINTS: "http://env:1",
  });
  assert.equal(settings.type, "etcdv3");
  assert.deepEqual(settings.type === "etcdv3" && settings.etcd.endpoints, [
    "http://a:2379",
    "http://b:2379",
  ]);
  await assert.rejects(
    datastoreSettings(join(path, "slip.cfg"), {}),
    /did you mean etcdEndpoints\?/,
  );
  await assert.rejects(datastoreSettings(join(path, "other.cfg"), {}), /expected CalicoAPIConfig/);
  await assert.rejects(datastoreSettings(join(path, "none.cfg"), {}), /none\.cfg/);
});

test("fields that a newer Calico stored survive patch and label; a patch cannot add any", async () => {
  const ctl = new Ctl();
  const key = "/calico/resources/v3/projectcalico.org/tiers/future";
  const stored = {
    kind: "Tier",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "future", newMeta: { a: 1 } },
    spec: { order: 5, newThing: { x: [1, 2] } },
  };
  await ctl.store.put(key, JSON.stringify(stored));
  const patch = (text: string) => ctl.run(["patch", "tier", "future", "-p", text]);
  assert.deepEqual(await patch('{"spec":{"order":6}}'), {
    code: 0,
    out: "Successfully patched 1 'Tier' resource\n",
    err: "",
  });
  assert.equal((await ctl.run(["label", "tier", "future", "a=b"])).code, 0);
  const refused = await patch('{"spec":{"ordre":7}}');
  assert.equal(refused.code, 1);
  assert.match(refused.err, /spec\.ordre/);
  assert.doesNotMatch(refused.err, /newThing/);
  const after = JSON.parse((await ctl.store.get(key)).kv?.value ?? "") as typeof stored;
  assert.equal(after.spec.order, 6);
  assert.deepEqual(after.spec.newThing, stored.spec.newThing);
  assert.deepEqual(after.metadata.newMeta, stored.metadata.newMeta);
});

test("a staged Kubernetes policy is stored in the order of its Go structs", async () => {
  const ctl = new Ctl();
  const manifest = `apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: a, namespace: n}
spec:
  ingress:
  - from: [{namespaceSelector: {}}, {ipBlock: {except: [10.1.0.0/16], cidr: 10.0.0.0/8}}]
    ports: [{endPort: 90, port: 80, protocol: TCP}]
`;
  assert.equal((await ctl.run(["apply", "-f", "-"], manifest)).code, 0);
  const key = "/calico/resources/v3/projectcalico.org/stagedkubernetesnetworkpolicies/n/a";
  const { kv } = await ctl.store.get(key);
  assert.match(
    kv?.value ?? "",
    /"spec":\{"stagedAction":"Set","podSelector":\{\},"ingress":\[\{"ports":\[\{"protocol":"TCP","port":80,"endPort":90\}\],"from":\[\{"namespaceSelector":\{\}\},\{"ipBlock":\{"cidr":"10.0.0.0\/8","except":\["10.1.0.0\/16"\]\}\}\]\}\]\}/,
  );
});

test("of pools that overlap already, one can be disabled", async () => {
  const ctl = new Ctl();
  for (const [name, cidr] of [
    ["p1", "10.0.0.0/16"],
    ["p2", "10.0.1.0/24"],
  ]) {
    const key = `/calico/resources/v3/projectcalico.org/ippools/${name}`;
    const metadata = { name };
    const pool = { kind: "IPPool", apiVersion: "projectcalico.org/v3", metadata, spec: { cidr } };
    await ctl.store.put(key, JSON.stringify(pool));
  }
  const disabled = await ctl.run(["patch", "ippool", "p2", "-p", '{"spec":{"disabled":true}}']);
  assert.deepEqual([disabled.code, disabled.err], [0, ""]);
  const more =
    "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p3}, spec: {cidr: 10.0.2.0/24}}";
  assert.match((await ctl.run(["apply", "-f", "-"], more)).err, /overlaps 10\.0\.0\.0\/16/);
});
