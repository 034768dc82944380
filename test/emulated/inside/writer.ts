/**
 * `node writer.ts DATA-DIR FILE FROM`: writes numbers from FROM on to the embedded store until the machine
 * ends; each acknowledged write is a line `KEY NUMBER` of FILE.
 */
import { appendFileSync } from "node:fs";
import { openDatastore } from "#datastore";

const WRITERS = 4;
const [, , dataDir = "", acknowledged = "", from = "0"] = process.argv;
const store = await openDatastore({ type: "embedded", embedded: { dataDir } });

await Promise.all(
  Array.from({ length: WRITERS }, async (_, writer) => {
    for (let n = Number(from); ; n++) {
      const key = `/writer-${writer}/${n % 50}`;
      await store.put(key, String(n));
      appendFileSync(acknowledged, `${key} ${n}\n`);
    }
  }),
);
