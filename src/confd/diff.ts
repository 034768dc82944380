/** What a change does to a model, in words: peers that come, go, restart or only reload. */
import { isDeepStrictEqual } from "node:util";
import type { BgpModel, Peer } from "#bgp";
import { unifiedDiff } from "#ctl";

/** Fields that BIRD takes over while the session stays (BIRD user's guide, `configure`). */
const SOFT = new Set<string>(["origin", "kind", "node", "filters", "reachableBy"]);

/** One line each; empty when the models are equal. */
export function compareModels(before: BgpModel, after: BgpModel): string[] {
  const lines: string[] = [];
  if (before.routerId !== after.routerId) {
    lines.push(`~ router ID ${before.routerId} -> ${after.routerId}: every session restarts`);
  }
  for (const family of [4, 6] as const) {
    const old = new Map(before.families[family].peers.map((peer) => [peer.name, peer]));
    const fresh = new Map(after.families[family].peers.map((peer) => [peer.name, peer]));
    for (const [name, peer] of fresh) {
      const was = old.get(name);
      if (was === undefined)
        lines.push(`+ IPv${family} peer ${name}, AS ${peer.remoteAs} (${peer.origin})`);
      else if (!isDeepStrictEqual(was, peer)) lines.push(changeOf(family, was, peer));
    }
    for (const [name, peer] of old) {
      if (!fresh.has(name))
        lines.push(`- IPv${family} peer ${name}, AS ${peer.remoteAs} (${peer.origin})`);
    }
    for (const { what, origin, reason } of after.families[family].omitted) {
      const known = before.families[family].omitted.some(
        (one) => one.what === what && one.reason === reason,
      );
      if (!known) lines.push(`! IPv${family} peer ${what} (${origin}) is left out: ${reason}`);
    }
  }
  for (const warning of after.warnings) {
    if (!before.warnings.includes(warning)) lines.push(`! ${warning}`);
  }
  return lines;
}

function changeOf(family: number, was: Peer, is: Peer): string {
  const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])] as (keyof Peer)[];
  const changed = keys.filter((key) => !isDeepStrictEqual(was[key], is[key]));
  const effect = changed.every((key) => SOFT.has(key)) ? "stays up" : "restarts";
  return `~ IPv${family} peer ${is.name} ${effect}: ${changed.join(", ")}`;
}

/** "" when the texts are equal. */
export function diffText(name: string, before: string, after: string): string {
  const hunks = unifiedDiff(before, after);
  return hunks === "" ? "" : `--- ${name}\n+++ ${name}\n${hunks}`;
}
