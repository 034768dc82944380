/** Stores to be measured, as processes of their own: etcd, and `margay datastore`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EtcdClient, EtcdDatastore } from "#datastore";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** `use` gets its endpoint. */
export async function withEtcd<T>(dir: string, use: (url: string) => Promise<T>): Promise<T> {
  const url = await freeUrl();
  const peerUrl = await freeUrl();
  const flags: Readonly<Record<string, string>> = {
    "data-dir": join(dir, "etcd"),
    "log-level": "error",
    logger: "zap",
    "listen-client-urls": url,
    "advertise-client-urls": url,
    "listen-peer-urls": peerUrl,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": `default=${peerUrl}`,
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  return await withServer("etcd", args, [url], () => use(url));
}

/** `use` gets the endpoints of its socket and of its TCP port. */
export async function withMargay<T>(
  dir: string,
  use: (socket: string, tcp: string) => Promise<T>,
): Promise<T> {
  const data = join(dir, "margay");
  const socket = `unix://${join(data, "margay.sock")}`;
  const tcp = await freeUrl();
  const args = [MAIN, "datastore", "--data-dir", data, "--listen-client-urls", tcp];
  return await withServer(process.execPath, args, [socket, tcp], () => use(socket, tcp));
}

async function withServer<T>(
  program: string,
  args: readonly string[],
  urls: readonly string[],
  use: () => Promise<T>,
): Promise<T> {
  const child = spawn(program, args, { stdio: "ignore" });
  const gone = once(child, "exit");
  try {
    for (const url of urls) await answers(url);
    return await use();
  } finally {
    child.kill("SIGTERM");
    await gone;
  }
}

async function answers(url: string): Promise<void> {
  for (let i = 0; ; i++) {
    const store = new EtcdDatastore(new EtcdClient({ endpoints: [url] }));
    try {
      await store.get("/warm");
      return;
    } catch (error) {
      if (i > 200) throw error;
    } finally {
      await store.close();
    }
    await sleep(50);
  }
}

async function freeUrl(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return `http://127.0.0.1:${port}`;
}
