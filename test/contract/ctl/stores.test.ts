/** The commands as processes, on a real etcd and on the embedded store: the same bytes in both. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { EtcdServer } from "../datastore/etcd-server.ts";

const FILES = ["01-tiers-policies", "02-nodes-endpoints", "03-pools-bgp-config"].map(
  (name) => `test/golden/calicoctl/${name}.yaml`,
);
const run = promisify(execFile);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** No variable of the caller's names another store. */
function environment(more: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:ETCD_|DATASTORE_|MARGAY_)/.test(name),
  );
  return { ...Object.fromEntries(kept.map(([name, value]) => [name, value ?? ""])), ...more };
}

async function margay(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await run("bin/margay", args, { env: environment(env) });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

const anonymous = (text: string): string =>
  text
    .replaceAll(/"uid":"[^"]*"/g, '"uid":"<uid>"')
    .replaceAll(/"creationTimestamp":"[^"]*"/g, '"creationTimestamp":"<time>"')
    .replaceAll(/"clusterGUID":"[0-9a-f]{32}"/g, '"clusterGUID":"<guid>"');

test("on a real etcd: etcdctl reads the recorded bytes, and what others wrote is shown", async () => {
  const etcd = await EtcdServer.start();
  try {
    const env = { ETCD_ENDPOINTS: etcd.endpoint };
    const applied = await margay(env, "apply", ...FILES.flatMap((file) => ["-f", file]));
    assert.equal(applied.code, 0, applied.err);
    const lines = etcd.ctl("get", "--prefix", "/calico/").trimEnd().split("\n");
    const stored: Record<string, string> = {};
    for (let i = 0; i < lines.length; i += 2)
      stored[lines[i] ?? ""] = anonymous(lines[i + 1] ?? "");
    assert.deepEqual(stored, JSON.parse(readFileSync("test/golden/calicoctl/etcd.json", "utf8")));

    const key = "/calico/resources/v3/projectcalico.org/globalnetworksets/foreign";
    etcd.ctl(
      "put",
      key,
      '{"kind":"GlobalNetworkSet","apiVersion":"projectcalico.org/v3","metadata":{"name":"foreign"},"spec":{"nets":["192.0.2.0/24"]}}',
    );
    assert.match(
      (await margay(env, "get", "gns", "-o", "wide")).out,
      /^foreign +192\.0\.2\.0\/24/m,
    );
    etcd.ctl("put", key, "{broken");
    const broken = await margay(env, "get", "gns");
    assert.equal(broken.code, 1);
    assert.match(broken.out, /^blocklist/m);
    assert.match(broken.err, /globalnetworksets\/foreign: /);
  } finally {
    await etcd.stop();
  }
});

test("on the embedded store, with nothing configured but its directory", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "mgy-ctl-"));
  try {
    const env = { MARGAY_DATA_DIR: dataDir };
    for (const file of FILES) {
      const applied = await margay(env, "apply", "-f", file);
      assert.equal(applied.code, 0, applied.err);
    }
    const before = (await margay(env, "get", "np", "-A", "-o", "yaml")).out;
    assert.match(before, /resourceVersion: "10"/);
    const again = await margay(env, "apply", "-f", FILES[0] ?? "");
    assert.equal(again.code, 0);
    assert.equal((await margay(env, "get", "np", "-A", "-o", "yaml")).out, before);

    const bad = join(dataDir, "bad.yaml");
    writeFileSync(
      bad,
      "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {ordr: 1}\n",
    );
    const refused = await margay(env, "apply", "-f", bad);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /bad\.yaml:4:8: spec\.ordr: .*did you mean order\?/);
    assert.equal((await margay(env, "get", "tier", "t")).code, 1);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test("commands at the same time leave one whole object", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "mgy-ctl-"));
  try {
    const env = { MARGAY_DATA_DIR: dataDir };
    const file = (index: number): string => {
      const path = join(dataDir, `${index}.yaml`);
      writeFileSync(
        path,
        `apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: s}\nspec: {nets: [10.${index}.0.0/16]}\n`,
      );
      return path;
    };
    const ran = await Promise.all(
      [1, 2, 3].map((index) => margay(env, "apply", "-f", file(index))),
    );
    assert.deepEqual(
      ran.map((one) => one.err),
      ["", "", ""],
    );
    const { out } = await margay(env, "get", "gns", "s", "-o", "json");
    const { spec } = JSON.parse(out) as { spec: { nets: string[] } };
    assert.match(spec.nets.join(), /^10\.[123]\.0\.0\/16$/);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
