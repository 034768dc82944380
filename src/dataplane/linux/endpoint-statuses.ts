/** Remembers what was said of each endpoint, and says only what is new. */
import type { EndpointState, FromDataplane, WorkloadEndpointId } from "#calc";
import { endpointKey } from "./workload-addresses.ts";

export interface EndpointStatus {
  readonly status: EndpointState;
  readonly reason?: string;
}

export class EndpointStatuses {
  readonly #last = new Map<string, EndpointStatus>();
  readonly #dirty = new Map<string, WorkloadEndpointId>();
  #listeners: ((message: FromDataplane) => void)[] = [];

  listen(callback: (message: FromDataplane) => void): void {
    this.#listeners.push(callback);
  }

  /** Its status may have changed. */
  touch(id: WorkloadEndpointId): void {
    this.#dirty.set(endpointKey(id), id);
  }

  /** `statusOf` undefined: the endpoint is gone. */
  report(statusOf: (key: string) => EndpointStatus | undefined): void {
    for (const [key, id] of this.#dirty) {
      const before = this.#last.get(key);
      const after = statusOf(key);
      if (after === undefined) {
        if (!this.#last.delete(key)) continue;
        this.#emit({ case: "workloadEndpointStatusRemove", value: { id } });
      } else if (before?.status !== after.status || before?.reason !== after.reason) {
        this.#last.set(key, after);
        this.#emit({ case: "workloadEndpointStatusUpdate", value: { id, ...after } });
      }
    }
    this.#dirty.clear();
  }

  close(): void {
    this.#listeners = [];
  }

  #emit(message: FromDataplane): void {
    for (const listener of this.#listeners) listener(message);
  }
}
