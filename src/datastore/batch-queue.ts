/**
 * A push-to-pull queue for one watcher: the producer pushes, one consumer iterates. It ends when it
 * is closed, after what was pushed before; `fail` ends it with an error in the same way.
 */
export class BatchQueue<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private ended = false;
  private error: unknown = undefined;
  private wake: (() => void) | undefined;

  push(item: T): void {
    if (this.ended) return;
    this.items.push(item);
    this.wakeUp();
  }

  get length(): number {
    return this.items.length;
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
      // Swap the array instead of shifting: a burst of n items costs n, not n².
      while (this.items.length > 0) yield* this.items.splice(0);
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

  private wakeUp(): void {
    this.wake?.();
  }
}
