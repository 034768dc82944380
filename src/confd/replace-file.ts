/** A file that is replaced whole, in one step, and only by what was checked. */
import {
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { messageOf, systemError } from "#std";

export interface Replacement {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly keepStageFile: boolean;
  /** Rejects when the text in the file must not come into force; that error is passed on. */
  readonly check: (stage: string) => Promise<void>;
}

/** Rejects with what `check` says, or `cannot-write`; the old file is then as it was. */
export async function replaceFile(options: Replacement): Promise<void> {
  const { path, text, mode, owner, keepStageFile, check } = options;
  const stage = `${path}.stage`;
  const writing = (body: () => void): void => {
    try {
      body();
    } catch (error) {
      throw systemError("cannot-write", `${path}: ${messageOf(error)}`, {
        cause: error,
        retryable: true,
      });
    }
  };
  try {
    writing(() => {
      writeWhole(stage, text, mode);
      if (owner !== undefined) chownSync(stage, owner.uid, owner.gid);
    });
    await check(stage);
    writing(() => {
      if (keepStageFile) writeWhole(`${stage}.kept`, text, mode);
      renameSync(stage, path);
    });
  } catch (error) {
    discard(stage);
    throw error;
  }
}

/** Undefined: there is none, or it cannot be read. */
export function currentText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** What cannot be removed is overwritten next time. */
function discard(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The error that is being told is the cause.
  }
}

function writeWhole(path: string, text: string, mode: number): void {
  mkdirSync(join(path, ".."), { recursive: true, mode: 0o755 });
  rmSync(path, { force: true });
  const file = openSync(path, "wx", mode);
  try {
    // Not writeSync: on a disk that is nearly full it writes a part and is content.
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
