/**
 * Health of the agent's parts, as Felix reports it: each part says now and then that it lives and
 * whether it is ready; a report that grows older than the part's timeout counts as bad. The whole
 * is live (ready) when every part that reports on it is.
 */
export interface HealthReport {
  readonly live: boolean;
  readonly ready: boolean;
  readonly detail?: string;
}

export interface HealthPart {
  /** Which of the two questions this part answers. */
  readonly reports: { readonly live: boolean; readonly ready: boolean };
  /** 0: reports never grow too old. */
  readonly timeoutMs: number;
}

export type HealthQuestion = "live" | "ready";

interface State extends HealthPart {
  readonly name: string;
  last: HealthReport;
  atMs: number;
}

export interface HealthSummary {
  readonly ok: boolean;
  /** A table for people. */
  readonly text: string;
}

export class Health {
  readonly #parts = new Map<string, State>();
  readonly #nowMs: () => number;
  #timeouts: Readonly<Record<string, number>> = {};

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** HealthTimeoutOverrides, by part; may change while running. */
  overrideTimeouts(timeouts: Readonly<Record<string, number>>): void {
    this.#timeouts = timeouts;
  }

  /** Until its first report a part is live and not ready; its timeout runs already. */
  register(name: string, part: HealthPart): void {
    this.#parts.set(name, {
      ...part,
      name,
      last: { live: true, ready: false },
      atMs: this.#nowMs(),
    });
  }

  report(name: string, report: HealthReport): void {
    const part = this.#parts.get(name);
    if (part === undefined) return;
    part.last = report;
    part.atMs = this.#nowMs();
  }

  summary(question: HealthQuestion): HealthSummary {
    const parts = [...this.#parts.values()];
    return {
      ok: parts.every((part) => this.#answer(part, question) !== "bad"),
      text: this.#table(parts),
    };
  }

  #answer(part: State, question: HealthQuestion): "ok" | "bad" | "-" {
    if (!part.reports[question]) return "-";
    return part.last[question] && !this.#late(part) ? "ok" : "bad";
  }

  #late(part: State): boolean {
    const timeoutMs = this.#timeouts[part.name] ?? part.timeoutMs;
    return timeoutMs > 0 && this.#nowMs() - part.atMs > timeoutMs;
  }

  #table(parts: readonly State[]): string {
    const rows = parts.map((part) => [
      part.name,
      this.#answer(part, "live"),
      this.#answer(part, "ready"),
      this.#late(part)
        ? `no report for ${Math.round((this.#nowMs() - part.atMs) / 1000)} s`
        : (part.last.detail ?? ""),
    ]);
    const all = [["COMPONENT", "LIVE", "READY", "DETAIL"], ...rows];
    const widths = [0, 1, 2].map((column) =>
      Math.max(...all.map((cells) => (cells[column] ?? "").length)),
    );
    return all
      .map((cells) =>
        cells
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      )
      .map((line) => `${line}\n`)
      .join("");
  }
}
