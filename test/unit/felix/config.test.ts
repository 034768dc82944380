import assert from "node:assert/strict";
import { test } from "node:test";
import type { Param } from "../../../src/felix/config/kinds.ts";
import { configFromEnvironment, parseIni } from "../../../src/felix/config/local-sources.ts";
import { GROUPS, PARAMS, paramNamed } from "../../../src/felix/config/params.ts";
import { printConfig } from "../../../src/felix/config/print.ts";
import {
  changesBetween,
  resolveConfig,
  SOURCES,
  type RawSources,
} from "../../../src/felix/config/resolve.ts";

const resolve = (sources: RawSources) => resolveConfig(sources, "node-a");
const table: Readonly<Record<string, Param<unknown>>> = PARAMS;

test("the table: every parameter is in one group, every default parses and shows as itself again", () => {
  const grouped = GROUPS.flatMap(({ params }) => Object.keys(params));
  assert.deepEqual(grouped.toSorted(), Object.keys(PARAMS).toSorted());
  assert.ok(grouped.length >= 209, `${grouped.length} parameters`);
  for (const [name, { kind, default: raw }] of Object.entries(table)) {
    if (raw === "") continue;
    const shown = kind.show(kind.parse(raw));
    assert.equal(kind.show(kind.parse(shown)), shown, name);
  }
});

test("precedence: each source wins over all before it", () => {
  const ascending = SOURCES.slice(1);
  for (let count = 1; count <= ascending.length; count += 1) {
    const sources = Object.fromEntries(
      ascending
        .slice(0, count)
        .map((source, index) => [source, { HealthPort: String(100 + index) }]),
    ) as RawSources;
    const { values, origins } = resolve(sources);
    assert.equal(values.HealthPort, 100 + count - 1);
    assert.equal(origins.HealthPort.source, ascending[count - 1]);
  }
});

test("names: any capitalisation, FELIX_ prefix, names of the v3 resource", () => {
  assert.deepEqual(
    configFromEnvironment({ felix_HEALTHPORT: "1", FELIX_LogPrefix: "x ", PATH: "/", FELIX_: "y" }),
    { HEALTHPORT: "1", LogPrefix: "x" },
  );
  assert.equal(resolve({ "environment variable": { HEALTHPORT: "1" } }).values.HealthPort, 1);
  assert.equal(paramNamed("reportingInterval"), "ReportingIntervalSecs");
  assert.equal(paramNamed("ipipEnabled"), "IpInIpEnabled");
  assert.equal(paramNamed("ipv6Support"), "Ipv6Support");
  assert.equal(paramNamed("nonsense"), undefined);
});

test("none is the zero value, and refused where zero makes no sense", () => {
  const { values } = resolve({
    "config file": { LogFilePath: "None", FailsafeInboundHostPorts: "none" },
  });
  assert.equal(values.LogFilePath, "");
  assert.deepEqual(values.FailsafeInboundHostPorts, []);
  assert.throws(() => resolve({ "config file": { InterfacePrefix: "none" } }), {
    code: "invalid-config",
    message: "InterfacePrefix from config file cannot be none",
  });
});

test("bad values: replaced with the default and said, or the end", () => {
  const { values, problems } = resolve({
    "datastore (global)": { HealthPort: "9100" },
    "environment variable": { HealthPort: "70000" },
  });
  assert.equal(values.HealthPort, 9099, "the default, not the lower source");
  assert.deepEqual(
    problems.map(({ message, fields }) => [message, fields["name"], fields["allowed"]]),
    [["invalid value replaced with the default", "HealthPort", "an integer from 0 to 65535"]],
  );
  assert.throws(() => resolve({ "config file": { DefaultEndpointToHostAction: "maybe" } }), {
    code: "invalid-config",
    message:
      /DefaultEndpointToHostAction from config file: "maybe" is not one of DROP, RETURN, ACCEPT/,
  });
});

test("local-only parameters do not come from the datastore; empty and unknown ones are ignored", () => {
  const { values, problems, raw } = resolve({
    "datastore (global)": { EtcdEndpoints: "http://evil:1", LogPrefix: "", HealthPrt: "1" },
  });
  assert.deepEqual(values.EtcdEndpoints, []);
  assert.equal(values.LogPrefix, "calico-packet");
  assert.deepEqual(raw, { HealthPrt: "1" });
  assert.deepEqual(
    problems.map(({ message, fields }) => [message, fields["name"], fields["didYouMean"]]),
    [
      ["local-only parameter ignored", "EtcdEndpoints", undefined],
      ["unknown parameter ignored", "HealthPrt", "HealthPort"],
    ],
  );
});

test("what is not used is named when it differs from the default, and only then", () => {
  const { problems } = resolve({
    "environment variable": {
      BPFEnabled: "true",
      WireguardEnabled: "FALSE",
      HealthEnabled: "true",
    },
  });
  assert.deepEqual(
    problems.map(({ fields }) => fields),
    [{ names: ["BPFEnabled"] }],
  );
});

test("kinds", () => {
  const cases: readonly (readonly [name: string, raw: string, value: unknown])[] = [
    ["RouteRefreshInterval", "1.5", 1500],
    ["RouteRefreshInterval", "1m30s", 90_000],
    ["IptablesLockProbeIntervalMillis", "50", 50],
    ["NftablesMarkMask", "0xff000000", 0xff000000],
    ["NFTablesMode", "ENABLED", "Enabled"],
    ["Ipv6Support", "No", false],
    ["VXLANEnabled", "t", true],
    ["EtcdEndpoints", "https://a:1, https://b:2/", ["https://a:1", "https://b:2"]],
    [
      "FailsafeInboundHostPorts",
      "22,udp:10.0.0.0/8:53,tcp:[fd00::1]:80,tcp:fd00::/8:81",
      [
        { protocol: "tcp", port: 22 },
        { protocol: "udp", port: 53, net: "10.0.0.0/8" },
        { protocol: "tcp", port: 80, net: "fd00::1/128" },
        { protocol: "tcp", port: 81, net: "fd00::/8" },
      ],
    ],
    [
      "HealthTimeoutOverrides",
      "CalculationGraph=90s,DatastoreSync=1m",
      { CalculationGraph: 90_000, DatastoreSync: 60_000 },
    ],
    [
      "KubeNodePortRanges",
      "30000:32767,80",
      [
        { first: 30000, last: 32767 },
        { first: 80, last: 80 },
      ],
    ],
    [
      "RouteTableRanges",
      "1-10,300-400",
      [
        { min: 1, max: 10 },
        { min: 300, max: 400 },
      ],
    ],
    ["ExternalNodesCIDRList", "10.0.0.1,10.1.0.0/16", ["10.0.0.1/32", "10.1.0.0/16"]],
    ["BPFConntrackTimeouts", "a=1,b=c=d", { a: "1", b: "c=d" }],
  ];
  for (const [name, raw, value] of cases)
    assert.deepEqual(table[name]?.kind.parse(raw), value, `${name} ${raw}`);
  const bad: readonly (readonly [name: string, raw: string])[] = [
    ["RouteRefreshInterval", "soon"],
    ["NftablesMarkMask", "0x7"],
    ["EtcdEndpoints", "http://a:1,https://b:1"],
    ["EtcdEndpoints", "http://a:1/path"],
    ["EtcdCaFile", "/does/not/exist.pem"],
    ["FailsafeInboundHostPorts", "sctp:22"],
    ["FailsafeInboundHostPorts", "tcp:nonsense:22"],
    ["FailsafeInboundHostPorts", "tcp:70000"],
    ["RouteTableRange", "1-251"],
    ["ExternalNodesCIDRList", "fd00::/8"],
    ["DeviceRouteSourceAddress", "fd00::1"],
    ["InterfacePrefix", "cali,a b"],
    ["InterfaceExclude", "/(/"],
    ["OpenstackRegion", "Über"],
    ["LogActionRateLimit", "0/second"],
  ];
  for (const [name, raw] of bad)
    assert.throws(() => table[name]?.kind.parse(raw), { code: "invalid-value" }, `${name} ${raw}`);
});

test("interfaces: names are exact, slashes make an expression", () => {
  const [exact, pattern] = resolve({ "config file": { InterfaceExclude: "kube-ipvs0,/veth.*/" } })
    .values.InterfaceExclude;
  assert.ok(exact?.test("kube-ipvs0") && !exact.test("kube-ipvs01"));
  assert.ok(pattern?.test("veth123"));
});

test("file: sections, comments, and a line that is none of it", () => {
  assert.deepEqual(parseIni("# c\n[global]\nHealthPort = 1\n; x\n\nLogPrefix=a = b\n", "f"), {
    HealthPort: "1",
    LogPrefix: "a = b",
  });
  assert.throws(() => parseIni("[a]\noops\n", "felix.cfg"), /felix\.cfg:2: expected key = value/);
});

test("changes: by meaning, with what can be taken live", () => {
  const before = resolve({});
  assert.deepEqual(
    changesBetween(before, resolve({ "config file": { HealthPort: "9099", Ipv6Support: "yes" } })),
    [],
  );
  assert.deepEqual(
    changesBetween(before, resolve({ "datastore (global)": { ClusterGUID: "x", LogPrefix: "y" } })),
    [
      { name: "ClusterGUID", from: "baddecaf", to: "x", needsRestart: false },
      { name: "LogPrefix", from: "calico-packet", to: "y", needsRestart: true },
    ].toSorted((a, b) => Object.keys(PARAMS).indexOf(a.name) - Object.keys(PARAMS).indexOf(b.name)),
  );
});

test("print: every parameter with value and source; JSON is data", () => {
  const config = resolve({ "environment variable": { HealthPort: "1" } });
  const rows = JSON.parse(printConfig(config, "json")) as {
    name: string;
    value: string;
    source: string;
  }[];
  assert.equal(rows.length, Object.keys(PARAMS).length);
  assert.deepEqual(
    rows.find(({ name }) => name === "HealthPort"),
    {
      name: "HealthPort",
      value: "1",
      source: "environment variable",
      used: true,
    },
  );
  assert.match(printConfig(config, "table"), /^HealthPort +1 +environment variable$/m);
});
