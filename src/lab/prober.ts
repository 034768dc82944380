/**
 * A worker thread that lives in one network namespace: it serves the peer's ports and sends real
 * connections from there. `setns` moves only the calling thread, and every socket that this
 * thread's event loop opens afterwards belongs to that namespace (setns(2), CLONE_NEWNET).
 */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer, type Server } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { enterNetworkNamespace } from "#netlink";
import { unreachable } from "#std";
import type { Listen } from "./spec.ts";

export interface ProbeTarget {
  readonly protocol: "tcp" | "udp";
  readonly family: 4 | 6;
  readonly address: string;
  readonly port: number;
}

export type ProberRequest =
  | { readonly op: "listen"; readonly id: number; readonly ports: readonly Listen[] }
  | {
      readonly op: "probe";
      readonly id: number;
      readonly targets: readonly ProbeTarget[];
      readonly timeoutMs: number;
    }
  | {
      readonly op: "http";
      readonly id: number;
      readonly port: number;
      readonly path: string;
      readonly timeoutMs: number;
    };

export interface ProberResponse {
  readonly id: number;
  /** Per target of a probe: did an answer come back. For `http`: [status was 200]. */
  readonly results: readonly boolean[];
  readonly error?: string;
}

/** What a listener answers, so that a stray service on the port cannot pass for ours. */
const GREETING = "margay-lab";

const servers: (Server | UdpSocket)[] = [];

if (parentPort !== null) {
  const port = parentPort;
  enterNetworkNamespace((workerData as { netns: string }).netns);
  port.on("message", (request: ProberRequest) => {
    handle(request).then(
      (results) => port.postMessage({ id: request.id, results } satisfies ProberResponse),
      (error: unknown) =>
        port.postMessage({
          id: request.id,
          results: [],
          error: String(error),
        } satisfies ProberResponse),
    );
  });
}

async function handle(request: ProberRequest): Promise<boolean[]> {
  switch (request.op) {
    case "listen":
      await Promise.all(
        request.ports.map((port) =>
          port.protocol === "tcp" ? listenTcp(port.port) : listenUdp(port.port),
        ),
      );
      return [];
    case "probe":
      return Promise.all(request.targets.map((target) => probe(target, request.timeoutMs)));
    case "http":
      return [await httpOk(request.port, request.path, request.timeoutMs)];
    default:
      return unreachable(request);
  }
}

async function listenTcp(port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.end(GREETING);
  });
  servers.push(server);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen({ port, host: "::", ipv6Only: false }, resolve);
  });
}

async function listenUdp(port: number): Promise<void> {
  for (const family of ["udp4", "udp6"] as const) {
    const socket = createSocket({ type: family, ipv6Only: family === "udp6" });
    socket.on("message", (data, from) => socket.send(data, from.port, from.address));
    socket.on("error", () => {});
    servers.push(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject).bind(port, resolve);
    });
  }
}

/** One new flow; true when the peer answered. */
function probe(target: ProbeTarget, timeoutMs: number): Promise<boolean> {
  return target.protocol === "tcp" ? probeTcp(target, timeoutMs) : probeUdp(target, timeoutMs);
}

function probeTcp(target: ProbeTarget, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: target.address, port: target.port, family: target.family });
    let heard = "";
    const finish = (answer: boolean): void => {
      clearTimeout(timer);
      // A reset rather than a FIN: thousands of probes must not fill the table with TIME_WAIT.
      socket.resetAndDestroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    socket.on("data", (data) => {
      heard += data.toString("latin1");
      if (heard.startsWith(GREETING)) finish(true);
    });
    socket.on("error", () => finish(false));
    socket.on("end", () => finish(heard.startsWith(GREETING)));
  });
}

function probeUdp(target: ProbeTarget, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(target.family === 4 ? "udp4" : "udp6");
    const timers: NodeJS.Timeout[] = [];
    let done = false;
    const finish = (answer: boolean): void => {
      if (done) return;
      done = true;
      for (const timer of timers) clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const send = (): void => {
      if (!done) socket.send(GREETING, target.port, target.address, () => {});
    };
    socket.on("error", () => finish(false));
    socket.on("message", (data) => finish(data.toString("latin1") === GREETING));
    send();
    // The first packet of a flow may be lost while a neighbour is being resolved.
    timers.push(
      setTimeout(send, timeoutMs / 2),
      setTimeout(() => finish(false), timeoutMs),
    );
  });
}

function httpOk(port: number, path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    let answer = "";
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer.startsWith("HTTP/1.1 200"));
    };
    const timer = setTimeout(finish, timeoutMs);
    socket.on("connect", () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
    );
    socket.on("data", (data) => {
      answer += data.toString("latin1");
    });
    socket.on("error", finish);
    socket.on("close", finish);
  });
}
