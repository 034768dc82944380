/**
 * A client of BIRD's control socket (BIRD programmer's documentation, `nest/cli.c`): a command is a
 * line; of the reply each line is `CODE-text` and the last `CODE text`, where a blank stands for the
 * code of the line before. Codes from 8000 are errors.
 */
import { createConnection } from "node:net";
import { MargayError, systemError } from "#std";

export interface ReplyLine {
  readonly code: number;
  readonly text: string;
}

const DEFAULT_TIMEOUT_MS = 5000;
const READY = 1;
const FIRST_ERROR = 8000;

/**
 * One command, one connection. Throws system errors: `bird-not-running`, `bird-timeout`, and
 * `bird-refused` with what BIRD says.
 */
export async function birdCommand(
  socketPath: string,
  command: string,
  timeoutMs = DEFAULT_TIMEOUT_MS,
): Promise<readonly ReplyLine[]> {
  const lines = await exchange(socketPath, command, timeoutMs);
  const failed = lines.filter(({ code }) => code >= FIRST_ERROR);
  if (failed.length === 0) return lines;
  const text = failed.map((line) => line.text).join("; ");
  throw systemError("bird-refused", `BIRD refuses "${command}": ${text}`, {
    fields: { socketPath },
  });
}

async function exchange(
  socketPath: string,
  command: string,
  timeoutMs: number,
): Promise<readonly ReplyLine[]> {
  const { promise, resolve, reject } = Promise.withResolvers<readonly ReplyLine[]>();
  const socket = createConnection({ path: socketPath });
  const reply = new Reply();
  let greeted = false;
  socket.setEncoding("utf8");
  socket.setTimeout(timeoutMs, () =>
    socket.destroy(
      systemError("bird-timeout", `BIRD does not answer on ${socketPath}`, {
        retryable: true,
        fields: { command },
      }),
    ),
  );
  socket.on("data", (chunk: string) => {
    for (const line of reply.take(chunk)) {
      if (!line.last) continue;
      if (greeted) resolve(reply.lines);
      else if (line.code === READY) socket.write(`${command}\n`);
      greeted = true;
      if (line.code === READY) reply.lines = [];
    }
  });
  socket.on("error", (error) =>
    reject(error instanceof MargayError ? error : notRunning(socketPath, error)),
  );
  socket.on("close", () => reject(notRunning(socketPath, undefined)));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

function notRunning(socketPath: string, cause: Error | undefined): MargayError {
  return systemError("bird-not-running", `no BIRD answers on ${socketPath}`, {
    retryable: true,
    cause,
  });
}

class Reply {
  lines: ReplyLine[] = [];
  #rest = "";
  #code = 0;

  /** The whole lines that this chunk completes. */
  take(chunk: string): { readonly code: number; readonly last: boolean }[] {
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop() ?? "";
    return parts.map((part) => {
      const match = /^(\d{4})([ -])(.*)$/.exec(part);
      if (match !== null) this.#code = Number(match[1]);
      this.lines.push({ code: this.#code, text: match?.[3] ?? part.slice(1) });
      return { code: this.#code, last: match?.[2] === " " };
    });
  }
}

export interface Session {
  readonly name: string;
  /** `up`, `start`, `down`. */
  readonly state: string;
  readonly since: string;
  /** Established, Active, …; with BIRD's last error if there is one. */
  readonly info: string;
  /** RFC 4271 §8.2.2, such as `Established`. */
  readonly bgpState: string;
  readonly neighbor: string;
  readonly imported: number;
  readonly exported: number;
}

const NO_DETAILS = { bgpState: "", neighbor: "", imported: 0, exported: 0 };

/** The BGP protocols of a BIRD process. */
export async function bgpSessions(socketPath: string): Promise<Session[]> {
  const lines = await birdCommand(socketPath, "show protocols all");
  const sessions: { -readonly [K in keyof Session]: Session[K] }[] = [];
  let isBgp = false;
  for (const { code, text } of lines) {
    if (code === 1002) {
      const [name = "", proto, , state = "", ...rest] = text.trim().split(/\s+/);
      isBgp = proto === "BGP";
      const { since, info } = sinceAndInfo(rest);
      if (isBgp) sessions.push({ ...NO_DETAILS, name, state, since, info });
      continue;
    }
    const session = sessions.at(-1);
    if (!isBgp || session === undefined) continue;
    const [, detail, told = ""] = /^\s*(BGP state|Neighbor address):\s+(\S+)/.exec(text) ?? [];
    if (detail === "BGP state") session.bgpState = told;
    else if (detail !== undefined) session.neighbor = told;
    const counts = /^\s*Routes:\s+(\d+) imported,.*?(\d+) exported/.exec(text);
    if (counts === null) continue;
    session.imported = Number(counts[1]);
    session.exported = Number(counts[2]);
  }
  return sessions;
}

/** The time is one word or, for other days, a date; with `timeformat` set it may be two. */
function sinceAndInfo(words: readonly string[]): { since: string; info: string } {
  const dated = /^\d{4}-\d\d-\d\d$/.test(words[0] ?? "") && /^\d\d:/.test(words[1] ?? "");
  const count = dated ? 2 : 1;
  return { since: words.slice(0, count).join(" "), info: words.slice(count).join(" ") };
}
