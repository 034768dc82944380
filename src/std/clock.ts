/**
 * Time as a parameter. The real clock lives with the modules that may use the platform; the fake
 * one moves only when told.
 */
import { bug } from "./errors.ts";

export interface Timer {
  /** Idempotent; also after it fired. */
  cancel(): void;
}

export interface Clock {
  /** For durations: never goes back; origin arbitrary. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01 UTC; may jump. */
  wallMs(): number;
  /** Calls back once, not before `delayMs` have passed and never within this call. */
  startTimer(delayMs: number, callback: () => void): Timer;
}

interface FakeTimer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  #elapsedMs = 0;
  #wallOffsetMs: number;
  #sequence = 0;
  readonly #timers = new Set<FakeTimer>();

  constructor(wallMs = Date.UTC(2026, 0, 1)) {
    this.#wallOffsetMs = wallMs;
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  wallMs(): number {
    return this.#wallOffsetMs + this.#elapsedMs;
  }

  /** The wall clock jumps, as on an NTP step; timers do not notice. */
  setWallMs(wallMs: number): void {
    this.#wallOffsetMs = wallMs - this.#elapsedMs;
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    const dueMs = this.#elapsedMs + Math.max(0, delayMs);
    const timer: FakeTimer = { dueMs, sequence: this.#sequence++, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Time passes; timers fire in order of due time, then of creation, those they start included. */
  advance(ms: number): void {
    if (!(ms >= 0)) throw bug("the clock cannot go back", { ms });
    const untilMs = this.#elapsedMs + ms;
    for (let timer = this.#nextDue(untilMs); timer; timer = this.#nextDue(untilMs)) {
      this.#elapsedMs = timer.dueMs;
      this.#timers.delete(timer);
      timer.callback();
    }
    this.#elapsedMs = untilMs;
  }

  #nextDue(untilMs: number): FakeTimer | undefined {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      const sooner =
        !next ||
        timer.dueMs < next.dueMs ||
        (timer.dueMs === next.dueMs && timer.sequence < next.sequence);
      if (sooner) next = timer;
    }
    return next;
  }
}
