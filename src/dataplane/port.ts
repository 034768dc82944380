/**
 * What the agent needs of a dataplane. `onMessage` only records desired state (no I/O, never
 * throws); `apply` makes the kernel agree and says what was reached. Nothing is written to the
 * kernel before the `inSync` message has been received.
 */
import type { FromDataplane, ToDataplane } from "#calc";

export interface ApplyResult {
  /** False: some part stays dirty and `apply` must be called again after `retryAfterMs`. */
  readonly complete: boolean;
  readonly retryAfterMs?: number;
  readonly errors: readonly Error[];
  /** Kernel writes of this apply; 0 when the kernel already agreed. */
  readonly writes: number;
}

export interface Dataplane {
  onMessage(message: ToDataplane): void;
  apply(): Promise<ApplyResult>;
  /** Called when the kernel changed under us (interface came, ruleset flushed) and `apply` is wanted soon. */
  onWanted(callback: () => void): void;
  /** Endpoint and process status for the datastore. */
  onStatus(callback: (message: FromDataplane) => void): void;
  /** Stops listening; leaves everything in the kernel as it is. */
  close(): Promise<void>;
}
