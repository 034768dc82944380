/** Certificates for tests of TLS, and what clients and servers are told of them. */
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServerTls } from "#datastore";

export interface TlsFiles {
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

/** A CA, a server certificate for these names and addresses, and a client certificate. */
export function makeCertificates(dir: string, names = "IP:127.0.0.1,DNS:localhost"): TlsFiles {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const subject = (name: string) => ["-subj", `/CN=${name}`, "-days", "2"];
  openssl("req", "-x509", ...curve, "-keyout", "ca.key", "-out", "ca.pem", ...subject("test CA"));
  for (const name of ["server", "client"]) {
    const extensions = ["-addext", `subjectAltName=${names}`];
    openssl(
      "req",
      "-x509",
      ...curve,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      ...subject(name),
      ...extensions,
      "-addext",
      "basicConstraints=critical,CA:FALSE",
    );
  }
  return {
    ca: join(dir, "ca.pem"),
    serverCert: join(dir, "server.pem"),
    serverKey: join(dir, "server.key"),
    clientCert: join(dir, "client.pem"),
    clientKey: join(dir, "client.key"),
  };
}

export function makeCertificateDir(): string {
  return mkdtempSync(join(tmpdir(), "mgy-certs-"));
}

/** Settings of a client with the client's certificate. */
export function clientTls(tls: TlsFiles): {
  readonly caCertFile: string;
  readonly certFile: string;
  readonly keyFile: string;
} {
  return { caCertFile: tls.ca, certFile: tls.clientCert, keyFile: tls.clientKey };
}

/** Settings of a server that asks its clients for theirs. */
export function serverTls(tls: TlsFiles): ServerTls {
  return {
    certFile: tls.serverCert,
    keyFile: tls.serverKey,
    trustedCaFile: tls.ca,
    clientCertAuth: true,
  };
}
