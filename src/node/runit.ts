/** What runsv says of a service, and what it is told, by the files of its `supervise` directory (runsv(8)). */
import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

export interface ServiceState {
  readonly name: string;
  /** `unsupervised`: no runsv is there. `waiting`: it ended and is to start again. */
  readonly state: "run" | "waiting" | "down" | "unsupervised";
  readonly pid: number | undefined;
  /** Of this state, ms since 1970. */
  readonly sinceMs: number | undefined;
  readonly failure: Failure | undefined;
}

/** Its ends within ten seconds of the start. */
export interface Failure {
  readonly inARow: number;
  /** Exit code; undefined for a signal. */
  readonly code: number | undefined;
  readonly signal: number;
  readonly atMs: number;
  readonly pauseSeconds: number;
}

/** TAI64 counts from 2^62 and is ten seconds ahead of 1970 (cr.yp.to/libtai/tai64.html). */
const TAI64_EPOCH = 4_611_686_018_427_387_914n;

export function readService(enabled: string, name: string): ServiceState {
  const directory = join(enabled, name);
  const failure = readFailure(directory);
  if (!isSupervised(directory)) {
    return { name, state: "unsupervised", pid: undefined, sinceMs: undefined, failure };
  }
  const word = /^\w+/.exec(readText(join(directory, "supervise/stat")))?.[0];
  const pid = Number(readText(join(directory, "supervise/pid")).trim());
  return {
    name,
    state: word === "run" ? "run" : word === "finish" ? "waiting" : "down",
    pid: word === "run" && pid > 0 ? pid : undefined,
    sinceMs: sinceOf(directory),
    failure,
  };
}

function sinceOf(directory: string): number | undefined {
  try {
    const status = readFileSync(join(directory, "supervise/status"));
    return Number((status.readBigUInt64BE(0) - TAI64_EPOCH) * 1000n);
  } catch {
    return undefined;
  }
}

/** Written by the service's `finish`. */
export function readFailure(directory: string): Failure | undefined {
  const numbers = readText(join(directory, "failures"))
    .trim()
    .split(" ")
    .map((word) => Number(word));
  const [inARow = 0, code = 0, signal = 0, at = 0, pauseSeconds = 0] = numbers;
  if (inARow === 0 || numbers.some((one) => Number.isNaN(one))) return undefined;
  return { inARow, code: code < 0 ? undefined : code, signal, atMs: at * 1000, pauseSeconds };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Whether a runsv is there: it alone reads this pipe. */
export function isSupervised(directory: string): boolean {
  return withPipe(join(directory, "supervise/ok"), () => undefined);
}

/** `x`: stop the service, and end; `k`: kill the service. False when no runsv is there. */
export function tellRunsv(directory: string, command: "x" | "k"): boolean {
  return withPipe(join(directory, "supervise/control"), (descriptor) => {
    writeSync(descriptor, command);
  });
}

function withPipe(path: string, use: (descriptor: number) => void): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    use(descriptor);
    return true;
  } finally {
    closeSync(descriptor);
  }
}
