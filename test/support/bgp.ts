/** Objects of a small cluster for tests of BGP, and BIRD's own opinion of a configuration. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { birdConfig, bgpModel, BgpState, type BgpModel, type BgpOptions } from "#bgp";
import { encodeStored, resourcePath, validateResource, type Kind, type Resource } from "#resource";

export interface Given {
  readonly kind: Kind;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespace?: string;
  readonly spec: object;
  readonly status?: object;
  /** As another version may have stored it: validation here would refuse it. */
  readonly unchecked?: true;
}

/** Path and stored bytes, as the command line writes them. */
export function storedObject({
  kind,
  name,
  labels,
  namespace,
  spec,
  status,
}: Given): [string, string] {
  const result = validateResource({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: {
      name,
      ...(labels === undefined ? {} : { labels }),
      ...(namespace === undefined ? {} : { namespace }),
    },
    spec,
    ...(status === undefined ? {} : { status }),
  });
  assert.ok(result.ok, JSON.stringify(result));
  return [resourcePath(kind, name, namespace), encodeStored(result.value)];
}

/** `host-<number>` at 10.0.0.<number> and fd00::<number>. */
export function node(
  number: number,
  bgp: object = {},
  labels: Readonly<Record<string, string>> = {},
): Given {
  const address = { ipv4Address: `10.0.0.${number}/24`, ipv6Address: `fd00::${number}/64` };
  return { kind: "Node", name: `host-${number}`, labels, spec: { bgp: { ...address, ...bgp } } };
}

export const bgpConfiguration = (spec: object, name = "default"): Given => ({
  kind: "BGPConfiguration",
  name,
  spec,
});
export const bgpPeer = (name: string, spec: object): Given => ({ kind: "BGPPeer", name, spec });
export const bgpFilter = (name: string, spec: object): Given => ({ kind: "BGPFilter", name, spec });
export const pool = (name: string, spec: object): Given => ({ kind: "IPPool", name, spec });

export type Raw = readonly [path: string, value: string];

export function affinity(host: string, cidr: string, state = "confirmed"): Raw {
  const family = cidr.includes(":") ? 6 : 4;
  return [
    `/calico/ipam/v2/host/${host}/ipv${family}/block/${cidr.replace("/", "-")}`,
    JSON.stringify({ state, deleted: false }),
  ];
}

/** The model of `host-1`. */
export function modelOf(
  given: readonly (Given | Raw)[],
  options: BgpOptions = {},
  self = "host-1",
): BgpModel {
  return bgpModel(stateOf(given, self), options);
}

export function stateOf(given: readonly (Given | Raw)[], self = "host-1"): BgpState {
  const state = new BgpState(self);
  for (const one of given) {
    if ("kind" in one && one.unchecked === true) {
      const { kind, name, spec } = one;
      const resource = { apiVersion: "projectcalico.org/v3", kind, metadata: { name }, spec };
      state.putResource(resourcePath(kind, name), resource as Resource);
    } else state.put(...("kind" in one ? storedObject(one) : one));
  }
  return state;
}

/** Both texts; fails when the real BIRD does not parse one. */
export function rendered(model: BgpModel): { readonly 4: string; readonly 6: string } {
  const texts = { 4: birdConfig(model, 4), 6: birdConfig(model, 6) };
  for (const family of [4, 6] as const) assertParses(texts[family]);
  return texts;
}

export function assertParses(text: string): void {
  const directory = mkdtempSync(join(tmpdir(), "mgy-bird-"));
  try {
    const file = join(directory, "bird.cfg");
    writeFileSync(file, text, { mode: 0o600 });
    const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin`;
    const run = spawnSync("bird", ["-p", "-c", file], { encoding: "utf8", env: { PATH } });
    assert.equal(run.status, 0, `bird -p: ${run.error?.message ?? run.stderr}\n${text}`);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
