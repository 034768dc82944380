/** A `margay datastore` process on a directory, as the program runs it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { socketAnswers } from "../../../src/datastore/server/listener.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));

export class StoreProcess {
  readonly socketPath: string;
  readonly child: ChildProcess;
  private output = "";

  private constructor(child: ChildProcess, socketPath: string) {
    this.child = child;
    this.socketPath = socketPath;
    child.stderr?.on("data", (chunk: Buffer) => (this.output += chunk.toString()));
  }

  /** Resolves when it answers. */
  static start(dir: string, args: readonly string[] = []): Promise<StoreProcess> {
    return StoreProcess.startAt(dir, join(dir, "margay.sock"), { args, prefix: [] });
  }

  /** With another socket than its own; `prefix` runs it under another program. */
  static async startAt(
    dir: string,
    socketPath: string,
    options: { readonly args: readonly string[]; readonly prefix: readonly string[] },
  ): Promise<StoreProcess> {
    const command = [process.execPath, MAIN, "datastore", "--data-dir", dir];
    const [program = "", ...rest] = [...options.prefix, ...command, ...options.args];
    const child = spawn(program, rest, { stdio: ["ignore", "ignore", "pipe"] });
    const store = new StoreProcess(child, socketPath);
    for (let i = 0; i < 1000; i++) {
      if (child.exitCode !== null) throw new Error(`it ended: ${store.output}`);
      if (existsSync(store.socketPath) && (await socketAnswers(store.socketPath))) return store;
      await sleep(10);
    }
    await store.end("SIGKILL");
    throw new Error(`it does not answer: ${store.output}`);
  }

  get log(): string {
    return this.output;
  }

  get endpoint(): string {
    return `unix://${this.socketPath}`;
  }

  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const gone = once(this.child, "exit");
      this.child.kill(signal);
      await gone;
    }
    return this.child.exitCode;
  }
}
