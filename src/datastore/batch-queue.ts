/** Taken items are cut off in portions of at least this many. */
const CUT = 64;

/**
 * A push-to-pull queue for one watcher: the producer pushes, one consumer iterates. It ends when it
 * is closed, after what was pushed before; `fail` ends it with an error in the same way.
 */
export class BatchQueue<T> implements AsyncIterable<T> {
  private items: T[] = [];
  /** Items before it are taken; the array is cut now and then, so that n items cost n, not n². */
  private head = 0;
  private ended = false;
  private error: unknown = undefined;
  private wake: (() => void) | undefined;

  push(item: T): void {
    if (this.ended) return;
    this.items.push(item);
    this.wakeUp();
  }

  get length(): number {
    return this.items.length - this.head;
  }

  close(): void {
    this.ended = true;
    this.wakeUp();
  }

  fail(error: unknown): void {
    if (this.ended) return;
    this.error = error;
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.length > 0) yield this.take();
      if (this.ended) {
        if (this.error !== undefined) throw this.error;
        return;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.wake = resolve;
      await promise;
      this.wake = undefined;
    }
  }

  private take(): T {
    const item = this.items[this.head++] as T;
    if (this.head >= CUT && this.head * 2 >= this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }

  private wakeUp(): void {
    this.wake?.();
  }
}
