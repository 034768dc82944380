/**
 * Passwords of BGP sessions: a directory with `<secret>/<key>` files, as Kubernetes mounts Secrets.
 * The stores here hold no Secrets, so without such a directory there are none.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const PART = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]*)$/;

/** Reads anew at each call: a changed password takes effect with the next rendering. */
export function secretsIn(directory: string | undefined) {
  return (name: string, key: string): string | undefined => {
    if (directory === undefined || !PART.test(name) || !PART.test(key)) return undefined;
    try {
      return readFileSync(join(directory, name, key), "utf8").replace(/\r?\n$/, "");
    } catch {
      return undefined;
    }
  };
}
