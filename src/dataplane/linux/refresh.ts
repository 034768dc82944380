/** Something that is read back from the kernel: at first, when news of it were lost, and now and then. */
export class Refresh {
  readonly #onDue: () => void;
  #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #due = true;

  /** `intervalMs` 0: not again by itself. `onDue`: by time. */
  constructor(intervalMs: number, onDue: () => void) {
    this.#intervalMs = intervalMs;
    this.#onDue = onDue;
  }

  get due(): boolean {
    return this.#due;
  }

  mark(): void {
    this.#due = true;
  }

  /** It has been read. */
  done(): void {
    this.#due = false;
    this.#schedule();
  }

  setInterval(intervalMs: number): void {
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    this.#schedule();
  }

  #schedule(): void {
    this.close();
    if (this.#intervalMs <= 0) return;
    this.#timer = setTimeout(() => {
      this.#due = true;
      this.#onDue();
    }, this.#intervalMs).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
