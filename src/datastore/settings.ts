/**
 * Which datastore, and how to reach it. Names and defaults of the `ETCD_*` variables are Calico's;
 * with nothing configured at all it is the embedded store.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { didYouMean } from "#std";
import { datastoreError } from "./errors.ts";
import type { EtcdClientSettings } from "./etcd/client.ts";

export type DatastoreSettings =
  | { readonly type: "etcdv3"; readonly etcd: EtcdSettings }
  | { readonly type: "embedded"; readonly embedded: EmbeddedSettings };

export interface EtcdSettings extends EtcdClientSettings {
  /** In place of endpoints: the domain whose SRV records name them. */
  readonly discoverySrv?: string;
}

export interface EmbeddedSettings {
  /** Holds `margay.db` and the socket `margay.sock`. */
  readonly dataDir: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export const DEFAULT_ETCD_ENDPOINTS: readonly string[] = ["http://127.0.0.1:2379"];
const TYPES = ["etcdv3", "embedded"] as const;

/**
 * Reads `DATASTORE_TYPE`, `ETCD_*` and `MARGAY_DATA_DIR`. Setting an etcd endpoint without a type
 * means etcd. Throws `invalid` for what it does not know, rather than use another store.
 */
export function datastoreSettingsFromEnv(env: Environment = process.env): DatastoreSettings {
  const configured = text(env["DATASTORE_TYPE"]);
  const named = text(env["ETCD_ENDPOINTS"]) ?? text(env["ETCD_DISCOVERY_SRV"]);
  const type = configured ?? (named === undefined ? "embedded" : "etcdv3");
  switch (type) {
    case "etcdv3":
      return { type, etcd: etcdSettingsFromEnv(env) };
    case "embedded":
      return {
        type,
        embedded: { dataDir: resolve(text(env["MARGAY_DATA_DIR"]) ?? defaultDataDir(env)) },
      };
    default: {
      const guess = didYouMean(type, TYPES);
      const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
      throw datastoreError(
        "invalid",
        `DATASTORE_TYPE is ${JSON.stringify(type)}: expected ${TYPES.join(" or ")}${hint}`,
      );
    }
  }
}

/**
 * `ETCD_ENDPOINTS` splits at commas, or stems from the older `ETCD_SCHEME` and `ETCD_AUTHORITY`, or is
 * found by `ETCD_DISCOVERY_SRV`.
 */
export function etcdSettingsFromEnv(env: Environment): EtcdSettings {
  const discoverySrv = text(env["ETCD_DISCOVERY_SRV"]);
  const listed = splitEndpoints(env["ETCD_ENDPOINTS"]);
  if (discoverySrv !== undefined && listed.length > 0) {
    throw datastoreError(
      "invalid",
      "ETCD_ENDPOINTS and ETCD_DISCOVERY_SRV are both set: keep the one that names your cluster",
    );
  }
  const authority = text(env["ETCD_AUTHORITY"]);
  const fallback =
    authority === undefined
      ? DEFAULT_ETCD_ENDPOINTS
      : [`${text(env["ETCD_SCHEME"]) ?? "http"}://${authority}`];
  const endpoints = listed.length > 0 ? listed : fallback;
  return {
    ...(discoverySrv === undefined ? { endpoints } : { endpoints: [], discoverySrv }),
    caCertFile: text(env["ETCD_CA_CERT_FILE"]),
    certFile: text(env["ETCD_CERT_FILE"]),
    keyFile: text(env["ETCD_KEY_FILE"]),
    caCert: text(env["ETCD_CA_CERT"]),
    cert: text(env["ETCD_CERT"]),
    key: text(env["ETCD_KEY"]),
    username: text(env["ETCD_USERNAME"]),
    password: text(env["ETCD_PASSWORD"]),
  };
}

export function splitEndpoints(value: string | undefined): readonly string[] {
  return (value ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** `/var/lib/margay` for root, else the user's state directory (XDG Base Directory). */
export function defaultDataDir(env: Environment = process.env): string {
  if (process.getuid?.() === 0) return "/var/lib/margay";
  const state = text(env["XDG_STATE_HOME"]) ?? join(text(env["HOME"]) ?? homedir(), ".local/state");
  return join(state, "margay");
}

function text(value: string | undefined): string | undefined {
  return value === undefined || value.trim() === "" ? undefined : value.trim();
}
