/** The main thread's side of the probers: one worker per namespace, requests by id. */
import { Worker } from "node:worker_threads";
import { systemError } from "#std";
import type { ProberRequest, ProberResponse, ProbeTarget } from "./prober.ts";
import type { LabPeer } from "./spec.ts";
import { netnsPath } from "./names.ts";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

interface Pending {
  readonly peer: string;
  readonly resolve: (results: readonly boolean[]) => void;
  readonly reject: (error: Error) => void;
}

export class Probers {
  readonly #workers = new Map<string, Worker>();
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  /** In its namespace, which must be there; serves its ports. */
  async add(peer: LabPeer): Promise<void> {
    this.#open(peer.name);
    await this.#ask(peer.name, { op: "listen", ports: peer.listen });
  }

  async remove(peer: string): Promise<void> {
    const worker = this.#workers.get(peer);
    this.#workers.delete(peer);
    await worker?.terminate();
    this.#settle(peer, (waiting) => waiting.resolve([]));
  }

  #settle(peer: string, how: (waiting: Pending) => void): void {
    for (const [id, waiting] of this.#pending) {
      if (waiting.peer !== peer) continue;
      this.#pending.delete(id);
      how(waiting);
    }
  }

  #open(peer: string): void {
    const worker = new Worker(new URL("./prober.ts", import.meta.url), {
      workerData: { netns: netnsPath(peer) },
    });
    worker.on("message", (response: ProberResponse) => {
      const waiting = this.#pending.get(response.id);
      this.#pending.delete(response.id);
      if (response.error === undefined) waiting?.resolve(response.results);
      else waiting?.reject(systemError("lab-prober", `${peer}: ${response.error}`));
    });
    worker.on("error", (error) => {
      this.#settle(peer, (waiting) =>
        waiting.reject(systemError("lab-prober", `${peer}: ${String(error)}`)),
      );
    });
    this.#workers.set(peer, worker);
  }

  #ask(peer: string, request: WithoutId<ProberRequest>): Promise<readonly boolean[]> {
    const id = this.#nextId++;
    const worker = this.#workers.get(peer);
    if (worker === undefined)
      return Promise.reject(systemError("lab-prober", `no prober for ${peer}`));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { peer, resolve, reject });
      worker.postMessage({ ...request, id });
    });
  }

  /** Nothing, if the peer is not there yet or no more. */
  probe(
    from: string,
    targets: readonly ProbeTarget[],
    timeoutMs: number,
  ): Promise<readonly boolean[]> {
    if (!this.#workers.has(from)) return Promise.resolve([]);
    return this.#ask(from, { op: "probe", targets, timeoutMs });
  }

  async httpOk(from: string, port: number, path: string, timeoutMs: number): Promise<boolean> {
    const [ok] = await this.#ask(from, { op: "http", port, path, timeoutMs });
    return ok ?? false;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.terminate()));
  }
}
