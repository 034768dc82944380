/**
 * The lab's control socket, inside its private tmpfs: one JSON line asks, one JSON line answers.
 * Reached from outside through /proc/PID/root, so that there is no file to clean up.
 */
import { createConnection, createServer, type Server } from "node:net";
import { messageOf, systemError } from "#std";
import type { Cell } from "./matrix.ts";
import { LAB_DIR, pathInLab, type RunningLab } from "./sandbox.ts";

const SOCKET = `${LAB_DIR}/lab.sock`;

export interface LabStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly uptimeSeconds: number;
  readonly rounds: number;
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
  readonly peers: readonly {
    readonly name: string;
    readonly addresses: readonly string[];
    readonly interface?: string;
  }[];
  readonly cells: readonly Cell[];
}

export type ControlRequest = { readonly op: "status" } | { readonly op: "stop" };

export function serveControl(handle: (request: ControlRequest) => unknown): Server {
  const server = createServer((socket) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (!text.includes("\n")) return;
      socket.end(`${JSON.stringify(answer(text, handle))}\n`);
    });
  });
  server.listen(SOCKET);
  return server;
}

function answer(text: string, handle: (request: ControlRequest) => unknown): unknown {
  try {
    return handle(JSON.parse(text) as ControlRequest);
  } catch (error) {
    return { error: messageOf(error) };
  }
}

export function askLab(lab: RunningLab, request: ControlRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(pathInLab(lab, SOCKET));
    let text = "";
    socket.setEncoding("utf8");
    socket.setTimeout(5000, () => socket.destroy(new Error("no answer in 5 s")));
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("error", (error) =>
      reject(
        systemError("lab-unreachable", `lab ${lab.name} (process ${lab.pid}): ${error.message}`, {
          cause: error,
        }),
      ),
    );
    socket.on("close", () => {
      try {
        resolve(JSON.parse(text));
      } catch (error) {
        reject(
          systemError("lab-unreachable", `lab ${lab.name} answered nothing`, { cause: error }),
        );
      }
    });
  });
}
