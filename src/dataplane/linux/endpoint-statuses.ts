/** Remembers what was said of each endpoint, and says only what is new. */
import {
  workloadIdentity,
  type EndpointState,
  type FromDataplane,
  type WorkloadEndpointId,
} from "#calc";

export interface EndpointStatus {
  readonly status: EndpointState;
  readonly reason?: string;
}

/** How a kind of endpoint is told apart and told of. */
export interface StatusKind<Id> {
  readonly keyOf: (id: Id) => string;
  readonly update: (id: Id, status: EndpointStatus) => FromDataplane;
  readonly remove: (id: Id) => FromDataplane;
}

export const workloadStatuses: StatusKind<WorkloadEndpointId> = {
  keyOf: workloadIdentity,
  update: (id, status) => ({ case: "workloadEndpointStatusUpdate", value: { id, ...status } }),
  remove: (id) => ({ case: "workloadEndpointStatusRemove", value: { id } }),
};

/** Told apart by their names. */
export const hostStatuses: StatusKind<string> = {
  keyOf: (endpointId) => endpointId,
  update: (endpointId, status) => ({
    case: "hostEndpointStatusUpdate",
    value: { id: { endpointId }, ...status },
  }),
  remove: (endpointId) => ({ case: "hostEndpointStatusRemove", value: { id: { endpointId } } }),
};

export class EndpointStatuses<Id> {
  readonly #kind: StatusKind<Id>;
  readonly #last = new Map<string, EndpointStatus>();
  readonly #dirty = new Map<string, Id>();
  #listeners: ((message: FromDataplane) => void)[] = [];

  constructor(kind: StatusKind<Id>) {
    this.#kind = kind;
  }

  listen(callback: (message: FromDataplane) => void): void {
    this.#listeners.push(callback);
  }

  /** Its status may have changed. */
  touch(id: Id): void {
    this.#dirty.set(this.#kind.keyOf(id), id);
  }

  /** `statusOf` undefined: the endpoint is gone. */
  report(statusOf: (key: string) => EndpointStatus | undefined): void {
    for (const [key, id] of this.#dirty) {
      const before = this.#last.get(key);
      const after = statusOf(key);
      if (after === undefined) {
        if (!this.#last.delete(key)) continue;
        this.#emit(this.#kind.remove(id));
      } else if (before?.status !== after.status || before?.reason !== after.reason) {
        this.#last.set(key, after);
        this.#emit(this.#kind.update(id, after));
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
