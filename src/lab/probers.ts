/** The main thread's side of the probers: one worker per namespace, requests by id. */
import { Worker } from "node:worker_threads";
import { systemError } from "#std";
import type { ProberRequest, ProberResponse, ProbeTarget } from "./prober.ts";
import type { LabPeer } from "./spec.ts";
import { netnsPath } from "./topology.ts";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

interface Pending {
  readonly resolve: (results: readonly boolean[]) => void;
  readonly reject: (error: Error) => void;
}

export class Probers {
  readonly #workers = new Map<string, Worker>();
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  static async start(peers: readonly LabPeer[]): Promise<Probers> {
    const probers = new Probers();
    for (const peer of peers) probers.#open(peer.name);
    await Promise.all(
      peers.map((peer) => probers.#ask(peer.name, { op: "listen", ports: peer.listen })),
    );
    return probers;
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
      for (const waiting of this.#pending.values())
        waiting.reject(systemError("lab-prober", `${peer}: ${String(error)}`));
      this.#pending.clear();
    });
    this.#workers.set(peer, worker);
  }

  #ask(peer: string, request: WithoutId<ProberRequest>): Promise<readonly boolean[]> {
    const id = this.#nextId++;
    const worker = this.#workers.get(peer);
    if (worker === undefined)
      return Promise.reject(systemError("lab-prober", `no prober for ${peer}`));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.postMessage({ ...request, id });
    });
  }

  probe(
    from: string,
    targets: readonly ProbeTarget[],
    timeoutMs: number,
  ): Promise<readonly boolean[]> {
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
