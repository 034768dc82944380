/** Collects every fault of one document while a check walks it; knows the path it stands at. */
import type { ConstraintId } from "./constraints.ts";

export interface Position {
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

/** One fault of a resource, as data: the CLI prints it, an API returns it. */
export interface FieldError {
  /** `spec.ingress[0].source.nets[1]`; "" for the document itself. */
  readonly path: string;
  readonly constraint: ConstraintId;
  readonly message: string;
  readonly value?: unknown;
  /** What would be right there. */
  readonly allowed?: string;
  /** The likely fix. */
  readonly hint?: string;
  readonly position?: Position;
}

export type PathSegment = string | number;

export interface Fault {
  readonly message: string;
  readonly value?: unknown;
  readonly allowed?: string | undefined;
  readonly hint?: string | undefined;
  /** Below the place where the check stands. */
  readonly at?: readonly PathSegment[];
}

export class Context {
  /** `error`: input of a user. `keep`: an object of the store, perhaps from a newer version. */
  readonly unknownFields: "error" | "keep";
  readonly errors: FieldError[] = [];
  readonly path: PathSegment[] = [];

  /** Whether a user writes it now, who can be told to write it otherwise. */
  get isManifest(): boolean {
    return this.unknownFields === "error";
  }

  constructor(unknownFields: "error" | "keep") {
    this.unknownFields = unknownFields;
  }

  report(constraint: ConstraintId, fault: Fault): void {
    const { message, value, allowed, hint, at = [] } = fault;
    this.errors.push({
      path: formatPath([...this.path, ...at]),
      constraint,
      message,
      ...(value === undefined ? {} : { value }),
      ...(allowed === undefined ? {} : { allowed }),
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function formatPath(segments: readonly PathSegment[]): string {
  let text = "";
  for (const segment of segments) {
    if (typeof segment === "number") text += `[${segment}]`;
    else if (!PLAIN_KEY.test(segment)) text += `[${JSON.stringify(segment)}]`;
    else text += text === "" ? segment : `.${segment}`;
  }
  return text;
}

/** Inverse of `formatPath`. */
export function parsePath(path: string): PathSegment[] {
  const segments: PathSegment[] = [];
  for (const match of path.matchAll(
    /\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|([A-Za-z_][A-Za-z0-9_]*)/g,
  )) {
    if (match[1] !== undefined) segments.push(Number(match[1]));
    else if (match[2] !== undefined) segments.push(JSON.parse(match[2]) as string);
    else segments.push(match[3] ?? "");
  }
  return segments;
}

/** `path: message; expected …; did you mean …?` on one line, without the position. */
export function formatFieldError(error: FieldError): string {
  const where = error.path === "" ? "" : `${error.path}: `;
  const allowed = error.allowed === undefined ? "" : `; expected ${error.allowed}`;
  const hint = error.hint === undefined ? "" : ` (${error.hint})`;
  return `${where}${error.message}${allowed}${hint}`;
}
