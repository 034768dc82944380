/**
 * A dataplane driver as a child process, as Felix starts one:
 *
 *   agent ──pipe──▶ 3 driver      the driver's standard output and error are ours
 *   agent ◀──pipe── 4 driver
 *
 * Asked to end it gets SIGTERM, and SIGKILL four seconds later.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { openPipe } from "#netlink";
import { messageOf, systemError } from "#std";

const TERM_PATIENCE_MS = 4000;
const KILL_PATIENCE_MS = 500;

export interface DriverProcess {
  readonly pid: number;
  /** Writes reach the driver's descriptor 3. */
  readonly toDriver: Socket;
  /** What the driver writes to its descriptor 4. */
  readonly fromDriver: Socket;
  /** Resolves when it has ended, with the words for it: `exit code 1`, `killed by SIGKILL`. */
  readonly ended: Promise<string>;
  /** Resolves when it is gone. Idempotent. */
  stop(): Promise<void>;
}

/** Rejects with the system error `driver-start`. A name without a slash is looked for in PATH. */
export async function startDriver(command: string): Promise<DriverProcess> {
  const down = openPipe();
  const up = openPipe();
  let child: ChildProcess;
  try {
    child = spawn(command, [], {
      stdio: ["ignore", "inherit", "inherit", down.readFd, up.writeFd],
    });
    await spawned(child);
  } catch (error) {
    closeSync(down.writeFd);
    closeSync(up.readFd);
    throw systemError("driver-start", `cannot start ${command}: ${messageOf(error)}`, {
      cause: error,
      fields: { driver: command },
    });
  } finally {
    // Else we would keep the pipes open when the driver is gone.
    closeSync(down.readFd);
    closeSync(up.writeFd);
  }
  return running(
    child,
    new Socket({ fd: down.writeFd, readable: false, writable: true }),
    new Socket({ fd: up.readFd, readable: true, writable: false }),
  );
}

function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
}

function running(child: ChildProcess, toDriver: Socket, fromDriver: Socket): DriverProcess {
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(signal === null ? `exit code ${code ?? "?"}` : `killed by ${signal}`);
    });
  });
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    if (!(await within(ended, TERM_PATIENCE_MS))) {
      child.kill("SIGKILL");
      await within(ended, KILL_PATIENCE_MS);
    }
    toDriver.destroy();
    fromDriver.destroy();
  };
  return {
    pid: child.pid ?? 0,
    toDriver,
    fromDriver,
    ended,
    stop: () => (stopping ??= stop()),
  };
}

async function within(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), milliseconds);
  try {
    return await Promise.race([promise.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
