/** Certificates and their CA are replaced, in the same files, while client and server run. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { DatastoreServer, Engine, EtcdClient, EtcdDatastore } from "#datastore";
import {
  clientTls,
  makeCertificateDir,
  makeCertificates,
  serverTls,
  type TlsFiles,
} from "../../support/certificates.ts";
import { EtcdServer } from "./etcd-server.ts";

describe("renewed certificates", () => {
  it("are what the client shows, and trusts, at its next connection", () =>
    withCertificates(async (dir, tls) => {
      const server = await EtcdServer.start(tls);
      const store = openStore(server.endpoint, tls);
      try {
        await store.put("/x", "1");
        await server.kill();
        makeCertificates(dir);
        await server.run();
        assert.equal((await store.get("/x")).kv?.value, "1");
        // Half of what belongs together: the last ones stay good.
        await server.kill();
        rmSync(tls.clientKey);
        await server.run();
        assert.equal((await store.get("/x")).kv?.value, "1");
      } finally {
        await store.close();
        await server.stop();
      }
    }));

  it("are what margay datastore shows, and trusts, without a restart", () =>
    withCertificates(async (dir, tls) => {
      const engine = Engine.open(join(dir, "store"), { owner: "test" });
      const server = await DatastoreServer.start(engine, {
        listenUrls: ["https://127.0.0.1:0"],
        tls: serverTls(tls),
      });
      const endpoint = server.urls[0] ?? "";
      const early = openStore(endpoint, tls);
      const stores = [early];
      try {
        await early.put("/x", "1");
        makeCertificates(dir);
        const late = openStore(endpoint, tls);
        stores.push(late);
        assert.equal((await late.get("/x")).kv?.value, "1");
        assert.equal((await early.get("/x")).kv?.value, "1", "its connection stays");
        // A key that does not fit: what was good before still is.
        writeFileSync(tls.serverKey, "");
        const latest = openStore(endpoint, tls);
        stores.push(latest);
        assert.equal((await latest.get("/x")).kv?.value, "1");
      } finally {
        for (const store of stores) await store.close();
        await server.close();
        await engine.close();
      }
    }));
});

async function withCertificates(
  body: (dir: string, tls: TlsFiles) => Promise<void>,
): Promise<void> {
  const dir = makeCertificateDir();
  try {
    await body(dir, makeCertificates(dir));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function openStore(endpoint: string, tls: TlsFiles): EtcdDatastore {
  return new EtcdDatastore(new EtcdClient({ endpoints: [endpoint], ...clientTls(tls) }));
}
