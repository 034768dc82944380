import { rmSync } from "node:fs";
import { EtcdClient, EtcdDatastore } from "#datastore";
import { clientTls, makeCertificateDir, makeCertificates } from "../../support/certificates.ts";
import { EtcdServer } from "./etcd-server.ts";
import { datastoreContract } from "./suite.ts";

datastoreContract("etcd", async () => {
  const server = await EtcdServer.start();
  return {
    open: async () => new EtcdDatastore(new EtcdClient({ endpoints: [server.endpoint] })),
    compact: async (revision) => {
      server.ctl("compact", String(revision));
    },
    stop: () => server.stop(),
  };
});

datastoreContract("etcd over mutual TLS, first endpoint dead", async () => {
  const dir = makeCertificateDir();
  const tls = makeCertificates(dir);
  const server = await EtcdServer.start(tls);
  const settings = {
    endpoints: ["https://127.0.0.1:1", server.endpoint],
    ...clientTls(tls),
  };
  const ctlTls = ["--cacert", tls.ca, "--cert", tls.clientCert, "--key", tls.clientKey];
  return {
    open: async () => new EtcdDatastore(new EtcdClient(settings)),
    compact: async (revision) => {
      server.ctl(...ctlTls, "compact", String(revision));
    },
    stop: async () => {
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
});
