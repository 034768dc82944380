/**
 * Which datastore a command works on: the file named by `--config`, else Calico's usual file if it
 * is there, else the environment, else the embedded store of this host.
 */
import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import type { DatastoreSettings } from "#datastore";
import { didYouMean, inputError, messageOf } from "#std";
import { Client } from "./client.ts";

const DEFAULT_CONFIG_FILE = "/etc/calico/calicoctl.cfg";

type Environment = Readonly<Record<string, string | undefined>>;

/** CalicoAPIConfig's fields and the variables that say the same. */
const FIELDS: Readonly<Record<string, string>> = {
  datastoreType: "DATASTORE_TYPE",
  etcdEndpoints: "ETCD_ENDPOINTS",
  etcdDiscoverySrv: "ETCD_DISCOVERY_SRV",
  etcdUsername: "ETCD_USERNAME",
  etcdPassword: "ETCD_PASSWORD",
  etcdKeyFile: "ETCD_KEY_FILE",
  etcdCertFile: "ETCD_CERT_FILE",
  etcdCACertFile: "ETCD_CA_CERT_FILE",
  etcdKey: "ETCD_KEY",
  etcdCert: "ETCD_CERT",
  etcdCACert: "ETCD_CA_CERT",
};

/** Throws `bad-config` for a file that cannot be read or understood. */
export async function datastoreSettings(
  configFile: string | undefined,
  env: Environment = process.env,
): Promise<DatastoreSettings> {
  // Loaded on use: `--help` and `validate` need no datastore, and its door costs 0.15 s.
  const { datastoreSettingsFromEnv } = await import("#datastore");
  const file = configFile ?? (existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : undefined);
  if (file === undefined) return datastoreSettingsFromEnv(env);
  return datastoreSettingsFromEnv({ ...withoutEtcd(env), ...readConfig(file) });
}

/** A file says all of it: variables do not mix into another cluster's settings. */
function withoutEtcd(env: Environment): Environment {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith("ETCD_") && name !== "DATASTORE_TYPE"),
  );
}

function readConfig(file: string): Record<string, string> {
  let config: unknown;
  try {
    config = parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw inputError("bad-config", `${file}: ${messageOf(error)}`, { cause: error });
  }
  const { kind, spec } = (config ?? {}) as { readonly kind?: unknown; readonly spec?: unknown };
  if (kind !== "CalicoAPIConfig") {
    throw inputError(
      "bad-config",
      `${file}: kind is ${JSON.stringify(kind ?? null)}, expected CalicoAPIConfig`,
    );
  }
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries((spec ?? {}) as Record<string, unknown>)) {
    const variable = FIELDS[name];
    if (variable !== undefined) {
      variables[variable] = Array.isArray(value) ? value.join(",") : textOf(value);
      continue;
    }
    if (/^(?:kubeconfig|k8s|kubernetes)/i.test(name)) continue;
    const guess = didYouMean(name, Object.keys(FIELDS));
    throw inputError(
      "bad-config",
      `${file}: spec.${name} is not known${guess === undefined ? "" : `; did you mean ${guess}?`}`,
    );
  }
  return variables;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? "");
}

/** The caller closes `client.store`. */
export async function connect(
  configFile?: string,
  env: Environment = process.env,
): Promise<Client> {
  const { openDatastore } = await import("#datastore");
  const settings = await datastoreSettings(configFile, env);
  return new Client(await openDatastore(settings, { owner: "margay" }));
}
