/**
 * Keeps the history bounded, with etcd's two modes: the newest N revisions (checked every five
 * minutes by etcd, here as soon as a tenth of N is new), or the revisions of the last period.
 */
import type { AutoCompaction } from "./engine.ts";

export interface CompactorTarget {
  readonly revision: number;
  readonly compactRevision: number;
  compactTo(revision: number): Promise<unknown>;
}

/** etcd samples the revision ten times in each period. */
const SAMPLES = 10;
const MIN_SAMPLE_MS = 1000;
const REVISION_CHECK_MS = 1000;

export class AutoCompactor {
  private readonly target: CompactorTarget;
  private readonly timer: NodeJS.Timeout | undefined;
  private samples: number[] = [];

  constructor(target: CompactorTarget, policy: AutoCompaction) {
    this.target = target;
    switch (policy.mode) {
      case "off":
        break;
      case "revision":
        this.timer = every(REVISION_CHECK_MS, () => this.keepRevisions(policy.revisions));
        break;
      case "periodic":
        this.timer = every(Math.max(MIN_SAMPLE_MS, policy.retentionMs / SAMPLES), () =>
          this.keepPeriod(),
        );
        break;
    }
  }

  close(): void {
    clearInterval(this.timer);
  }

  private keepRevisions(keep: number): void {
    const goal = this.target.revision - keep;
    if (goal - this.target.compactRevision >= Math.max(1, keep / 10)) this.compact(goal);
  }

  private keepPeriod(): void {
    this.samples.push(this.target.revision);
    if (this.samples.length <= SAMPLES) return;
    const goal = this.samples.shift() ?? 0;
    if (goal > this.target.compactRevision) this.compact(goal);
  }

  /** What fails now (a full disk, somebody else's compaction) is tried again at the next check. */
  private compact(revision: number): void {
    this.target.compactTo(revision).catch(() => undefined);
  }
}

function every(intervalMs: number, run: () => void): NodeJS.Timeout {
  return setInterval(run, intervalMs).unref();
}
