import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { EtcdClient, EtcdDatastore } from "#datastore";
import { EtcdServer, makeCertificateDir, makeCertificates } from "./etcd-server.ts";
import { datastoreContract } from "./suite.ts";

datastoreContract("etcd", async () => {
  const server = await EtcdServer.start();
  return {
    open: async () => new EtcdDatastore(new EtcdClient({ endpoints: [server.endpoint] })),
    compact: async (revision) => {
      execFileSync("etcdctl", ["--endpoints", server.endpoint, "compact", String(revision)], {
        env: { ...process.env, ETCDCTL_API: "3" },
        stdio: "pipe",
      });
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
    caCertFile: tls.ca,
    certFile: tls.clientCert,
    keyFile: tls.clientKey,
  };
  const ctlTls = ["--cacert", tls.ca, "--cert", tls.clientCert, "--key", tls.clientKey];
  return {
    open: async () => new EtcdDatastore(new EtcdClient(settings)),
    compact: async (revision) => {
      const args = [...ctlTls, "--endpoints", server.endpoint, "compact", String(revision)];
      execFileSync("etcdctl", args, { env: { ...process.env, ETCDCTL_API: "3" }, stdio: "pipe" });
    },
    stop: async () => {
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
});
