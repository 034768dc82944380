/** Delays between attempts: growing by a factor up to a limit, with jitter from a given source. */

export interface BackoffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** Growth from one delay to the next; default 2. */
  readonly factor?: number;
  /** Share of each delay that is random, 0–1; default 0.1: between 90 % and 100 % of it. */
  readonly jitter?: number;
  /** Uniform in [0, 1), e.g. `Math.random`. */
  readonly random: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Delays handed out since the last reset. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Milliseconds to wait before the next attempt. */
  nextMs(): number {
    const { initialMs, maxMs, factor = 2, jitter = 0.1, random } = this.#options;
    const delayMs = Math.min(maxMs, initialMs * factor ** this.#attempts);
    this.#attempts++;
    return delayMs * (1 - jitter * random());
  }

  /** After a success. */
  reset(): void {
    this.#attempts = 0;
  }
}
