import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { datastoreSettingsFromEnv } from "#datastore";
import { hasCode } from "../../contract/datastore/suite.ts";

describe("datastore settings", () => {
  it("nothing configured: the embedded store, at the user's or root's place", () => {
    const settings = datastoreSettingsFromEnv({ HOME: "/home/x" });
    assert.equal(settings.type, "embedded");
    if (settings.type !== "embedded") return;
    const root = process.getuid?.() === 0;
    const expected = root ? "/var/lib/margay" : "/home/x/.local/state/margay";
    assert.equal(settings.embedded.dataDir, expected);
  });

  it("MARGAY_DATA_DIR moves it", () => {
    const settings = datastoreSettingsFromEnv({ MARGAY_DATA_DIR: "/data" });
    assert.deepEqual(settings, { type: "embedded", embedded: { dataDir: "/data" } });
  });

  it("an etcd endpoint alone means etcd", () => {
    const settings = datastoreSettingsFromEnv({ ETCD_ENDPOINTS: "https://a:2379, https://b:2379" });
    assert.equal(settings.type, "etcdv3");
    if (settings.type === "etcdv3") {
      assert.deepEqual(settings.etcd.endpoints, ["https://a:2379", "https://b:2379"]);
    }
  });

  it("etcdv3 with its files, credentials and default endpoint", () => {
    const settings = datastoreSettingsFromEnv({
      DATASTORE_TYPE: "etcdv3",
      ETCD_CA_CERT_FILE: "/ca",
      ETCD_CERT_FILE: "/cert",
      ETCD_KEY_FILE: "/key",
      ETCD_USERNAME: "u",
      ETCD_PASSWORD: "p",
    });
    assert.equal(settings.type, "etcdv3");
    if (settings.type !== "etcdv3") return;
    const { endpoints, caCertFile, certFile, keyFile, username, password } = settings.etcd;
    assert.deepEqual(
      [endpoints, caCertFile, certFile, keyFile, username, password],
      [["http://127.0.0.1:2379"], "/ca", "/cert", "/key", "u", "p"],
    );
  });

  it("what it does not know is refused, with a hint", () => {
    const read = (env: Record<string, string>) => () => datastoreSettingsFromEnv(env);
    assert.throws(read({ DATASTORE_TYPE: "etcdv2" }), /did you mean etcdv3\?/);
    assert.throws(read({ DATASTORE_TYPE: "kubernetes" }), hasCode("invalid"));
    const both = { ETCD_ENDPOINTS: "http://10.0.0.1:2379", ETCD_DISCOVERY_SRV: "example.com" };
    assert.throws(read(both), hasCode("invalid"));
  });
});
