/**
 * The lab's control socket, inside its private tmpfs: one JSON line asks, one JSON line answers.
 * Reached from outside through /proc/PID/root, so that there is no file to clean up.
 */
import { createConnection, createServer, type Server } from "node:net";
import { inputError, messageOf, systemError } from "#std";
import type { Cell } from "./matrix.ts";
import { LAB_DIR } from "./names.ts";
import type { ProcessState } from "./processes.ts";
import { pathInLab, type RunningLab } from "./sandbox.ts";
import type { Listen } from "./spec.ts";
import type { HostView } from "./observe.ts";
import type { Wire } from "./wires.ts";

const SOCKET = `${LAB_DIR}/lab.sock`;

export interface LabStatus {
  readonly name: string;
  readonly ready: boolean;
  /** Tells a `margay` command where the lab's datastore is. */
  readonly environment: Readonly<Record<string, string>>;
  readonly uptimeSeconds: number;
  readonly rounds: number;
  readonly processes: readonly ProcessState[];
  readonly wires: readonly Wire[];
  /** Sessions and routes, as they were seen last. */
  readonly hosts: readonly HostView[];
  readonly peers: readonly {
    readonly name: string;
    readonly addresses: readonly string[];
    /** Of a workload: on its host. */
    readonly interface?: string;
    readonly host?: string;
  }[];
  readonly cells: readonly Cell[];
}

export type ControlRequest = { readonly op: "status" } | { readonly op: "stop" } | Change;

/** What alters the lab. */
export type Change =
  | { readonly op: "kill"; readonly machine: string; readonly process?: string }
  | { readonly op: "cut" | "heal" | "remove-host"; readonly name: string }
  | { readonly op: "add-host"; readonly name: string; readonly subnet: string }
  | {
      readonly op: "add-workloads";
      readonly host: string;
      readonly count: number;
      readonly listen: readonly Listen[];
    };

export function serveControl(handle: (request: ControlRequest) => Promise<unknown>): Server {
  const server = createServer((socket) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (!text.includes("\n")) return;
      void answer(text, handle).then((reply) => socket.end(`${JSON.stringify(reply)}\n`));
    });
  });
  server.listen(SOCKET);
  return server;
}

interface Reply {
  readonly result?: unknown;
  readonly error?: string;
}

async function answer(
  text: string,
  handle: (request: ControlRequest) => Promise<unknown>,
): Promise<Reply> {
  try {
    return { result: await handle(JSON.parse(text) as ControlRequest) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Throws `lab-refused` with what the lab says, and `lab-unreachable`. */
export async function askLab(lab: RunningLab, request: ControlRequest): Promise<unknown> {
  const { error, result } = await exchange(lab, request);
  if (error !== undefined) throw inputError("lab-refused", error);
  return result;
}

/** Adding a hundred workloads takes a while. */
const TIMEOUT_MS = 120_000;

function exchange(lab: RunningLab, request: ControlRequest): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(pathInLab(lab, SOCKET));
    let text = "";
    socket.setEncoding("utf8");
    socket.setTimeout(TIMEOUT_MS, () =>
      socket.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)),
    );
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
        resolve(JSON.parse(text) as Reply);
      } catch (error) {
        reject(
          systemError("lab-unreachable", `lab ${lab.name} answered nothing`, { cause: error }),
        );
      }
    });
  });
}
