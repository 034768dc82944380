/** A real etcd for tests: its own ports and data directory, gone afterwards. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TlsFiles } from "../../support/certificates.ts";

export class EtcdServer {
  readonly endpoint: string;
  readonly dir: string;
  private readonly args: readonly string[];
  private child: ChildProcess | undefined;

  private constructor(dir: string, endpoint: string, args: readonly string[]) {
    this.dir = dir;
    this.endpoint = endpoint;
    this.args = args;
  }

  /** `more`: flags. */
  static async start(tls?: TlsFiles, more: readonly string[] = []): Promise<EtcdServer> {
    const dir = mkdtempSync(join(tmpdir(), "mgy-etcd-"));
    const [client, peer] = [await freePort(), await freePort()];
    const endpoint = `${tls === undefined ? "http" : "https"}://127.0.0.1:${client}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    const args = [
      "--data-dir",
      join(dir, "data"),
      "--log-level",
      "error",
      "--logger",
      "zap",
      "--listen-client-urls",
      endpoint,
      "--advertise-client-urls",
      endpoint,
      "--listen-peer-urls",
      peerUrl,
      "--initial-advertise-peer-urls",
      peerUrl,
      "--initial-cluster",
      `default=${peerUrl}`,
      ...(tls === undefined ? [] : tlsArgs(tls)),
      ...more,
    ];
    const server = new EtcdServer(dir, endpoint, args);
    await server.run();
    return server;
  }

  async run(): Promise<void> {
    const child = spawn("etcd", this.args, { stdio: "ignore" });
    this.child = child;
    const port = Number(new URL(this.endpoint).port);
    await waitForPort(port, () => child.exitCode !== null);
  }

  async kill(): Promise<void> {
    const child = this.child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Stops the process without ending it: connections stay open, nothing answers. */
  freeze(): void {
    this.child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.child?.kill("SIGCONT");
  }

  /** What `etcdctl` prints when it is given these arguments. Throws when it fails. */
  ctl(...args: readonly string[]): string {
    return execFileSync("etcdctl", ["--endpoints", this.endpoint, ...args], {
      encoding: "utf8",
      env: { ...process.env, ETCDCTL_API: "3" },
      stdio: "pipe",
    });
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function tlsArgs(tls: TlsFiles): string[] {
  return [
    "--cert-file",
    tls.serverCert,
    "--key-file",
    tls.serverKey,
    "--trusted-ca-file",
    tls.ca,
    "--client-cert-auth",
  ];
}

/** Fails after 20 seconds, or at once when `dead` says so. */
async function waitForPort(port: number, dead: () => boolean): Promise<void> {
  const { connect } = await import("node:net");
  for (let i = 0; i < 400; i++) {
    if (dead()) throw new Error("the server ended at once");
    const socket = connect({ port, host: "127.0.0.1" });
    const answer = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (answer) return;
    await sleep(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
