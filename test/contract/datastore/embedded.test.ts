import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  DatastoreServer,
  embeddedSocketPath,
  Engine,
  EtcdClient,
  EtcdDatastore,
  openDatastore,
  type Datastore,
} from "#datastore";
import { create } from "@bufbuild/protobuf";
import { CompactionRequestSchema } from "../../../src/datastore/etcd/proto/rpc_pb.ts";
import { LocalApi } from "../../../src/datastore/embedded/local-api.ts";
import { clientTls, makeCertificates, serverTls } from "../../support/certificates.ts";
import { datastoreContract, type SuiteTarget } from "./suite.ts";

/** An engine in a directory of its own, and what the suite needs of it. */
function startEngine(): { engine: Engine; dir: string; target: Omit<SuiteTarget, "open"> } {
  const dir = mkdtempSync(join(tmpdir(), "mgy-store-"));
  const engine = Engine.open(dir, { owner: "test" });
  const target = {
    compact: async (revision: number) => {
      await engine.compact(create(CompactionRequestSchema, { revision: BigInt(revision) }));
    },
    stop: async () => {
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return { engine, dir, target };
}

datastoreContract("embedded, in this process", async () => {
  const { engine, target } = startEngine();
  const open = async (): Promise<Datastore> =>
    new EtcdDatastore(new LocalApi(engine, async () => undefined));
  return { ...target, open };
});

datastoreContract("embedded, over its unix socket", async () => {
  const { engine, dir, target } = startEngine();
  const listenUrls = [`unix://${embeddedSocketPath(dir)}`];
  const server = await DatastoreServer.start(engine, { listenUrls });
  return {
    ...target,
    // Finds the socket and becomes a client of it.
    open: () => openDatastore({ type: "embedded", embedded: { dataDir: dir } }),
    stop: async () => {
      await server.close();
      await target.stop?.();
    },
  };
});

datastoreContract("embedded, over mutual TLS", async () => {
  const { engine, dir, target } = startEngine();
  const tls = makeCertificates(dir);
  const server = await DatastoreServer.start(engine, {
    listenUrls: ["https://127.0.0.1:0"],
    tls: serverTls(tls),
  });
  const settings = { endpoints: server.urls, ...clientTls(tls) };
  return {
    ...target,
    open: async () => new EtcdDatastore(new EtcdClient(settings)),
    stop: async () => {
      await server.close();
      await target.stop?.();
    },
  };
});
