/** What the parts of the dataplane that write to the kernel have in common. */

export interface DriverResult {
  /** Writes that succeeded. */
  readonly writes: number;
  readonly errors: readonly Error[];
}

export const NOTHING_DONE: DriverResult = { writes: 0, errors: [] };
