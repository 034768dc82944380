/**
 * Which datastore the agent uses: the variables that every client of the datastore reads
 * (`DATASTORE_TYPE`, `ETCD_*`, also with `CALICO_` before them), overridden by Felix's own
 * parameters where those were set.
 */
import { datastoreSettingsFromEnv, type DatastoreSettings } from "#datastore";
import type { ParamName } from "./params.ts";
import type { FelixConfig } from "./resolve.ts";

export function datastoreSettings(
  config: FelixConfig,
  environment: Readonly<NodeJS.ProcessEnv>,
): DatastoreSettings {
  const env: Record<string, string | undefined> = { ...environment };
  for (const [key, value] of Object.entries(environment)) {
    const match = /^CALICO_((?:ETCD|DATASTORE)_\w+)$/.exec(key);
    if (match?.[1] !== undefined) env[match[1]] = value;
  }
  const { values, origins } = config;
  const isSet = (name: ParamName): boolean => origins[name].source !== "default";
  if (isSet("DatastoreType")) env["DATASTORE_TYPE"] = values.DatastoreType;
  if (values.EtcdEndpoints.length > 0) {
    env["DATASTORE_TYPE"] = "etcdv3";
    env["ETCD_ENDPOINTS"] = values.EtcdEndpoints.join(",");
  } else if (isSet("EtcdAddr")) {
    env["DATASTORE_TYPE"] = "etcdv3";
    env["ETCD_ENDPOINTS"] = `${values.EtcdScheme}://${values.EtcdAddr}`;
  }
  if (isSet("EtcdKeyFile")) env["ETCD_KEY_FILE"] = values.EtcdKeyFile;
  if (isSet("EtcdCertFile")) env["ETCD_CERT_FILE"] = values.EtcdCertFile;
  if (isSet("EtcdCaFile")) env["ETCD_CA_CERT_FILE"] = values.EtcdCaFile;
  return datastoreSettingsFromEnv(env);
}
