import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { configUpdate } from "../../../src/felix/config/message.ts";
import { resolveConfig } from "../../../src/felix/config/resolve.ts";

test("sources of settings have Felix's names and ranks", () => {
  const golden = new URL("../../golden/felix/host-a.json", import.meta.url);
  const [felix] = JSON.parse(readFileSync(golden, "utf8")) as {
    configUpdate: { sourceToRawConfig: Record<string, { source: string; config?: object }> };
  }[];
  const expected = felix?.configUpdate.sourceToRawConfig ?? {};
  const configOf = (rank: string): Record<string, string> =>
    (expected[rank]?.config ?? {}) as Record<string, string>;
  const message = configUpdate(
    resolveConfig(
      {
        "datastore (global)": { ...configOf("1"), ClusterType: "" },
        "datastore (per-host)": configOf("3"),
        "environment variable": Object.fromEntries(
          Object.entries(configOf("5")).map(([name, value]) => [name.toUpperCase(), value]),
        ),
      },
      "host-a",
    ),
  );
  assert.ok(message.case === "configUpdate");
  const { config, sourceToRawConfig = {} } = message.value;
  assert.deepEqual(
    sourceToRawConfig,
    Object.fromEntries(
      Object.entries(expected).map(([rank, { source, config: raw = {} }]) => [
        rank,
        { source, config: raw },
      ]),
    ),
  );
  assert.equal(config["DataplaneDriver"], "example-driver");
  assert.equal(config["VXLANMTU"], "1410");
});
