/** What the server refuses at its start, each with the name of what is wrong. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DatastoreServer, datastoreSettingsFromEnv, Engine, type ServerTls } from "#datastore";

describe("a server that cannot start", () => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-refuse-"));
  const certFile = join(dir, "server.pem");
  const keyFile = join(dir, "server.key");
  const otherKey = join(dir, "other.key");
  let engine: Engine;

  before(() => {
    engine = Engine.open(join(dir, "store"), { owner: "test" });
    const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x";
    execFileSync("openssl", [...args.split(" "), "-keyout", keyFile, "-out", certFile], {
      stdio: "pipe",
    });
    execFileSync(
      "openssl",
      ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", otherKey],
      {
        stdio: "pipe",
      },
    );
  });
  after(async () => {
    await engine?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function refused(url: string, tls: ServerTls | undefined, words: RegExp): Promise<void> {
    await assert.rejects(DatastoreServer.start(engine, { listenUrls: [url], tls }), words);
  }
  const https = "https://127.0.0.1:0";

  it("names the certificate and the key that do not fit", async () => {
    const tls = { certFile, keyFile: otherKey, clientCertAuth: false };
    await refused(https, tls, /server\.pem with key .*other\.key: .*mismatch/);
  });

  it("names the file that is no CA", async () => {
    const tls = { certFile, keyFile, trustedCaFile: keyFile, clientCertAuth: true };
    await refused(https, tls, /server\.key holds no certificate/);
  });

  it("takes no relative path for one of the root", async () => {
    await refused("unix://relative/x.sock", undefined, /expected unix:\/\/\/PATH/);
    const settings = datastoreSettingsFromEnv({ MARGAY_DATA_DIR: "relative" });
    assert.equal(settings.type, "embedded");
    assert.equal(settings.embedded.dataDir, join(process.cwd(), "relative"));
  });

  it("names the data directory that cannot be made", () => {
    const file = join(dir, "file");
    writeFileSync(file, "");
    const open = () => Engine.open(join(file, "store"), { owner: "test" });
    assert.throws(open, /cannot make the data directory .*file\/store/);
  });
});
