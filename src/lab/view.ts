/** What the person at the terminal sees: progress while starting, then the lab, redrawn in place. */
import type { LabStatus } from "./control.ts";
import { drawNetwork } from "./draw.ts";
import { drawMatrix, surprises } from "./matrix.ts";

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
  readonly status: LabStatus;
  readonly tookMs: number;
  /** The last datastore key that changed. */
  readonly lastChange: string;
}

export class LiveView {
  readonly #out: NodeJS.WriteStream;
  #shown = "";

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  open(): void {
    if (this.#out.isTTY) this.#out.write("\u001b[?1049h\u001b[?25l");
  }

  /** On a terminal every round; in a pipe only what differs from what was printed last. */
  show(round: Round): void {
    if (!this.#out.isTTY) {
      const body = drawStatus(round.status, false);
      if (body !== this.#shown) this.#out.write(`${body}\n\n`);
      this.#shown = body;
      return;
    }
    const around = [...heading(round), "", "", ...footer(round.status)].length;
    const body = drawStatus(round.status, true, this.#out.rows - around);
    const text = [...heading(round), "", body, "", ...footer(round.status)].join("\n");
    this.#out.write(`\u001b[H${text.replaceAll("\n", "\u001b[K\n")}\u001b[K\u001b[J`);
  }

  close(): void {
    if (this.#out.isTTY) this.#out.write("\u001b[?25h\u001b[?1049l");
  }
}

/** Topology, sessions and routes of several hosts, as far as there are rows for them, and the matrix. */
export function drawStatus(status: LabStatus, colour: boolean, rows?: number): string {
  const matrix = status.cells.length === 0 ? "no round yet" : drawMatrix(status.cells, { colour });
  const room = rows === undefined ? undefined : rows - matrix.split("\n").length;
  return [...drawNetwork(status, room), matrix].join("\n");
}

function heading({ status, tookMs, lastChange }: Round): string[] {
  const bad = surprises(status.cells).length;
  const verdict = status.cells.every((cell) => cell.expected === undefined)
    ? ""
    : bad === 0
      ? "   as the file expects"
      : `   ${bad} not as the file expects (!)`;
  return [
    `margay lab ${status.name}   round ${status.rounds}, ${status.cells.length} connections in ${tookMs.toFixed(0)} ms${verdict}`,
    `last change: ${lastChange === "" ? "none yet" : lastChange}`,
  ];
}

function footer({ peers, hosts }: LabStatus): string[] {
  const some = peers.find((peer) => peer.host !== undefined)?.name ?? peers[0]?.name ?? "";
  const host = hosts[0]?.name ?? "";
  return [
    "In a second terminal:",
    "  bin/margay lab ctl get wep -A            any margay command on this lab's datastore",
    "  bin/margay lab ctl apply -f FILE         change policy and watch the matrix",
    `  bin/margay lab exec ${some} -- sh           a shell inside ${some}`,
    `  bin/margay lab cut|heal|kill ${host}         a link, a host, one process`,
    "Ctrl-C ends the lab; nothing stays behind.",
  ];
}
