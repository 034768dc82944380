/** What the person at the terminal sees: progress while starting, then the matrix, redrawn in place. */
import { drawMatrix, surprises, type Cell } from "./matrix.ts";
import type { LabSpec } from "./spec.ts";

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #open = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** One line, replaced by the next; silent when the stream is no terminal. */
  step(text: string): void {
    if (!this.#stream.isTTY) return;
    this.#stream.write(`\r\u001b[2K${text}…`);
    this.#open = true;
  }

  done(): void {
    if (this.#open) this.#stream.write("\r\u001b[2K");
    this.#open = false;
  }
}

export interface Round {
  readonly cells: readonly Cell[];
  readonly number: number;
  readonly tookMs: number;
  /** The last datastore key that changed. */
  readonly lastChange: string;
}

export class LiveView {
  readonly #out: NodeJS.WriteStream;
  readonly #spec: LabSpec;
  #shown = "";

  constructor(out: NodeJS.WriteStream, spec: LabSpec) {
    this.#out = out;
    this.#spec = spec;
  }

  open(): void {
    if (this.#out.isTTY) this.#out.write("\u001b[?1049h\u001b[?25l");
  }

  /** On a terminal every round; in a pipe only when the matrix differs from the last one printed. */
  show(round: Round): void {
    const matrix = drawMatrix(round.cells, { colour: this.#out.isTTY });
    if (!this.#out.isTTY) {
      if (matrix !== this.#shown) this.#out.write(`${matrix}\n\n`);
      this.#shown = matrix;
      return;
    }
    const text = [...this.#heading(round), "", matrix, "", ...this.#footer()].join("\n");
    this.#out.write(`\u001b[H${text.replaceAll("\n", "\u001b[K\n")}\u001b[K\u001b[J`);
  }

  #heading(round: Round): string[] {
    const bad = surprises(round.cells).length;
    const verdict =
      this.#spec.expect === undefined
        ? ""
        : bad === 0
          ? "   as the file expects"
          : `   ${bad} not as the file expects (!)`;
    return [
      `margay lab ${this.#spec.name}   round ${round.number}, ${round.cells.length} connections in ${round.tookMs.toFixed(0)} ms${verdict}`,
      `last change: ${round.lastChange === "" ? "none yet" : round.lastChange}`,
    ];
  }

  #footer(): string[] {
    const some = this.#spec.workloads[0]?.name ?? this.#spec.host.name;
    return [
      "In a second terminal:",
      "  bin/margay lab ctl get wep -A            any margay command on this lab's datastore",
      "  bin/margay lab ctl apply -f FILE         change policy and watch the matrix",
      `  bin/margay lab exec ${some} -- sh           a shell inside ${some}`,
      "Ctrl-C ends the lab; nothing stays behind.",
    ];
  }

  close(): void {
    if (this.#out.isTTY) this.#out.write("\u001b[?25h\u001b[?1049l");
  }
}
