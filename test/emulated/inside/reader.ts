/** `node reader.ts DATA-DIR`: prints all keys and values of the embedded store as JSON. */
import { openDatastore } from "#datastore";

const [, , dataDir = ""] = process.argv;
const store = await openDatastore({ type: "embedded", embedded: { dataDir } });
const { kvs } = await store.list("/");
await store.close();
process.stdout.write(JSON.stringify(Object.fromEntries(kvs.map((kv) => [kv.key, kv.value]))));
