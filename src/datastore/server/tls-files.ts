/**
 * The server's certificate, its key and the CA of its clients, in files that may be renewed while it
 * runs: as etcd does, it takes what is there when a client comes.
 */
import { readFileSync, statSync } from "node:fs";
import { createSecureContext, type TlsOptions } from "node:tls";
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";

export interface ServerTls {
  readonly certFile: string;
  readonly keyFile: string;
  readonly trustedCaFile?: string | undefined;
  /** Refuses clients without a certificate of the trusted CA. */
  readonly clientCertAuth: boolean;
}

export class TlsFiles {
  readonly #tls: ServerTls;
  #version: string;

  /** As read at the start. */
  readonly options: TlsOptions;

  /** Throws `invalid` and names the file. */
  constructor(tls: ServerTls) {
    this.#tls = tls;
    this.#version = versionOf(tls);
    this.options = read(tls);
  }

  /** Undefined: nothing was written since, or not yet all that belongs together. */
  renewed(): TlsOptions | undefined {
    try {
      const version = versionOf(this.#tls);
      if (version === this.#version) return undefined;
      const options = read(this.#tls);
      this.#version = version;
      return options;
    } catch {
      // Half of it: the next client asks again.
      return undefined;
    }
  }
}

/** Another one when a file was written or replaced. */
function versionOf({ certFile, keyFile, trustedCaFile }: ServerTls): string {
  return [certFile, keyFile, trustedCaFile]
    .map((path) => {
      const found = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
      return found === undefined ? "" : `${found.ino} ${found.size} ${found.mtimeMs}`;
    })
    .join(" ");
}

function read(tls: ServerTls): TlsOptions {
  const { certFile, keyFile, trustedCaFile, clientCertAuth } = tls;
  if (clientCertAuth && trustedCaFile === undefined) {
    throw datastoreError("invalid", "--client-cert-auth needs --trusted-ca-file");
  }
  const cert = readPem(certFile);
  const key = readPem(keyFile);
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const text = `certificate ${certFile} with key ${keyFile}: ${messageOf(error)}`;
    throw datastoreError("invalid", text, { cause: error });
  }
  return {
    cert,
    key,
    ...(trustedCaFile === undefined ? {} : { ca: readCertificates(trustedCaFile) }),
    requestCert: clientCertAuth,
    rejectUnauthorized: clientCertAuth,
    minVersion: "TLSv1.2",
  };
}

/** OpenSSL takes a CA file without any certificate, and then refuses every client. */
function readCertificates(path: string): Buffer {
  const pem = readPem(path);
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) {
    throw datastoreError("invalid", `${path} holds no certificate in PEM form`);
  }
  return pem;
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw datastoreError("invalid", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
