/** The last line of a command that handles several resources, and its exit code. */
import type { CtlIo } from "./run.ts";

export interface Outcome {
  readonly total: readonly { readonly kind: string }[];
  handled: number;
  /** Set when it stopped before the end. */
  error?: string;
}

/** `verb`: "create"; `done`: "created". Returns the exit code. */
export function report(io: CtlIo, verb: string, done: string, outcome: Outcome): number {
  const { total, handled, error } = outcome;
  const kinds = new Set(total.map((one) => one.kind));
  const [kind] = kinds;
  const ofKind = kinds.size === 1 ? `'${kind ?? ""}' ` : "";
  if (error === undefined) {
    io.stdout.write(`Successfully ${done} ${handled} ${ofKind}resource(s)\n`);
    return 0;
  }
  if (total.length === 1) io.stderr.write(`failed to ${verb} ${ofKind}resource: ${error}\n`);
  else if (handled === 0) {
    io.stderr.write(`failed to ${verb} any of ${total.length} ${ofKind}resources: ${error}\n`);
  } else {
    io.stderr.write(
      `Partial success: ${done} the first ${handled} out of ${total.length} ${ofKind}resources\nHit error: ${error}\n`,
    );
  }
  return 1;
}
