/** etcd found by DNS, by the system's own resolver; in a sandbox, where port 53 is free. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serveZone } from "../../../support/dns-server.ts";
import { makeCertificates } from "../../../support/certificates.ts";
import { EtcdServer } from "../etcd-server.ts";

export interface Answer {
  readonly status: number | null;
  readonly out: string;
}

export interface DiscoveryResult {
  readonly plain: Answer;
  readonly tls: Answer;
  /** The name server fails for the TLS records: plain text is not tried. */
  readonly failing: Answer;
  readonly absent: Answer;
}

const MARGAY = fileURLToPath(new URL("../../../../bin/margay", import.meta.url));

execFileSync("ip", ["link", "set", "lo", "up"]);
const dir = mkdtempSync(join(tmpdir(), "mgy-srv-"));
const resolv = join(dir, "resolv.conf");
writeFileSync(resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
execFileSync("mount", ["--bind", resolv, "/etc/resolv.conf"]);
const certificates = makeCertificates(dir);
const plain = await EtcdServer.start();
const secure = await EtcdServer.start(certificates);
const portOf = ({ endpoint }: EtcdServer): number => Number(new URL(endpoint).port);
const member = { priority: 1, target: "localhost" };
const dns = await serveZone(
  {
    srv: {
      "_etcd-client._tcp.plain.test": [
        { ...member, priority: 5, port: portOf(plain) },
        { ...member, port: 1 },
      ],
      "_etcd-client-ssl._tcp.both.test": [{ ...member, port: portOf(secure) }],
      "_etcd-client._tcp.both.test": [{ ...member, port: portOf(plain) }],
      "_etcd-client._tcp.failing.test": [{ ...member, port: portOf(plain) }],
    },
    a: {},
  },
  53,
  ["_etcd-client-ssl._tcp.failing.test"],
);

/** Async, so that the name server here can answer meanwhile. */
async function get(domain: string, env: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const { spawn } = await import("node:child_process");
  const child = spawn(MARGAY, ["get", "nodes"], {
    env: { PATH: process.env["PATH"], ETCD_DISCOVERY_SRV: domain, ...env },
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { status, out };
}

const node = (name: string) =>
  JSON.stringify({ apiVersion: "projectcalico.org/v3", kind: "Node", metadata: { name } });
const tls = {
  ETCD_CA_CERT_FILE: certificates.ca,
  ETCD_CERT_FILE: certificates.clientCert,
  ETCD_KEY_FILE: certificates.clientKey,
};
for (const [server, name, env] of [
  [plain, "in-plain", {}],
  [secure, "in-secure", tls],
] as const) {
  const { status, stderr } = spawnSync(MARGAY, ["apply", "-f", "-"], {
    env: { PATH: process.env["PATH"], ETCD_ENDPOINTS: server.endpoint, ...env },
    input: node(name),
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
}
const result: DiscoveryResult = {
  plain: await get("plain.test"),
  tls: await get("both.test", tls),
  failing: await get("failing.test"),
  absent: await get("absent.test"),
};
dns.close();
await plain.stop();
await secure.stop();
process.stdout.write(JSON.stringify(result));
