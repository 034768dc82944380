import assert from "node:assert/strict";
import { test } from "node:test";
import { configFromEnvironment } from "../../../src/felix/config/local-sources.ts";
import { datastoreSettings } from "../../../src/felix/config/datastore-settings.ts";
import { resolveConfig } from "../../../src/felix/config/resolve.ts";

function settings(environment: Readonly<Record<string, string>>) {
  const config = resolveConfig({ "environment variable": configFromEnvironment(environment) }, "n");
  return datastoreSettings(config, environment);
}
const endpoints = (environment: Readonly<Record<string, string>>): readonly string[] | string => {
  const found = settings(environment);
  return found.type === "etcdv3" ? found.etcd.endpoints : found.type;
};

test("nothing configured is the embedded store; etcd endpoints mean etcd", () => {
  assert.equal(endpoints({ MARGAY_DATA_DIR: "/x" }), "embedded");
  assert.deepEqual(endpoints({ ETCD_ENDPOINTS: "http://a:1,http://b:2" }), [
    "http://a:1",
    "http://b:2",
  ]);
  assert.deepEqual(endpoints({ CALICO_ETCD_ENDPOINTS: "http://a:1" }), ["http://a:1"]);
  assert.deepEqual(endpoints({ DATASTORE_TYPE: "etcdv3" }), ["http://127.0.0.1:2379"]);
});

test("Felix's own settings win over the clients' variables", () => {
  const client = { ETCD_ENDPOINTS: "http://client:1", ETCD_CA_CERT_FILE: "/client-ca" };
  assert.deepEqual(endpoints({ ...client, FELIX_ETCDENDPOINTS: "http://felix:1" }), [
    "http://felix:1",
  ]);
  assert.deepEqual(endpoints({ ...client, FELIX_EtcdAddr: "felix:2", FELIX_ETCDSCHEME: "https" }), [
    "https://felix:2",
  ]);
  assert.equal(
    endpoints({ ...client, FELIX_DATASTORETYPE: "embedded", MARGAY_DATA_DIR: "/x" }),
    "embedded",
  );
  const found = settings({ ...client, FELIX_ETCDCAFILE: "/etc/passwd" });
  assert.equal(found.type === "etcdv3" && found.etcd.caCertFile, "/etc/passwd");
});

test("what there is no adapter for is refused, not replaced", () => {
  assert.throws(() => settings({ FELIX_DATASTORETYPE: "kubernetes" }), /kubernetes/);
});
