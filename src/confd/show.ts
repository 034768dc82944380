/** A model for people, and for JSON without its passwords. */
import type { BgpModel, FamilyModel, Peer } from "#bgp";
import { textTable } from "#ctl";
import type { Session } from "./birdc.ts";

export type SessionsByFamily = { readonly [family in 4 | 6]?: readonly Session[] };

/** The secret's name and key stay. */
export function publicModel(model: BgpModel): object {
  const family = (part: FamilyModel): object => ({
    ...part,
    peers: part.peers.map(({ password, ...peer }) =>
      password === undefined
        ? peer
        : { ...peer, password: { secret: password.secret, key: password.key } },
    ),
  });
  return {
    ...model,
    families: { 4: family(model.families[4]), 6: family(model.families[6]) },
  };
}

export function modelText(model: BgpModel, sessions: SessionsByFamily): string {
  const head = [
    `node         ${model.node}`,
    `router ID    ${model.routerId} (${model.routerIdFrom})`,
    `AS           ${model.asNumber}`,
    `mesh         ${model.mesh ? "on" : "off"} (${model.meshWhy})`,
    `listens on   port ${model.listenPort}${model.bindToNodeIp ? ", the node's address only" : ""}`,
    ...(model.reflectorClusterId === undefined
      ? []
      : [`reflector    cluster ${model.reflectorClusterId}`]),
    ...model.warnings.map((warning) => `warning      ${warning}`),
  ];
  const parts = ([4, 6] as const).map((family) =>
    familyText(model.families[family], sessions[family]),
  );
  return `${head.join("\n")}\n${parts.join("")}`;
}

function familyText(part: FamilyModel, sessions: readonly Session[] | undefined): string {
  const title = `\nIPv${part.family}`;
  if (part.address === undefined) return `${title}: the node has no address\n`;
  const lines = [
    ...part.omitted.map(({ what, origin, reason }) => `left out: ${what} (${origin}): ${reason}`),
    ...part.blocks.map((cidr) => `announced: ${cidr} (block of this node)`),
    ...part.serviceRoutes.map(({ cidr, origin }) => `announced: ${cidr} (${origin})`),
    ...part.pools.map(
      ({ cidr, origin, exported, programmedBy }) =>
        `${exported ? "announced" : "held back"}: routes in ${cidr} (${origin}${exported ? "" : ", disableBGPExport"}); routes to other nodes programmed by ${programmedBy}`,
    ),
    ...part.prefixCommunities.map(
      ({ cidr, communities }) =>
        `communities: ${cidr} gets ${communities.map((one) => one.join(":")).join(", ")}`,
    ),
    ...part.filters.map((filter) => {
      const count = (chain: typeof filter.import): string =>
        "fault" in chain ? `lets nothing pass: ${chain.fault}` : `${chain.rules.length} rules`;
      return `filter ${filter.name}: import ${count(filter.import)}, export ${count(filter.export)}`;
    }),
  ];
  return `${title}: ${part.address}\n${peerTable(part.peers, sessions)}${lines.map((line) => `${line}\n`).join("")}`;
}

function peerTable(peers: readonly Peer[], sessions: readonly Session[] | undefined): string {
  if (peers.length === 0) return "no peers\n";
  const byName = new Map((sessions ?? []).map((session) => [session.name, session]));
  const rows = peers.map((peer) => {
    const session = byName.get(peer.name);
    const live = session === undefined ? "-" : `${session.info} since ${session.since}`;
    const counts = session === undefined ? "-" : `${session.imported}/${session.exported}`;
    return [
      peer.name,
      String(peer.remoteAs),
      peer.internal ? "iBGP" : "eBGP",
      [peer.origin, ...(peer.node === undefined ? [] : [peer.node])].join(", "),
      peer.filters.join(",") || "-",
      live,
      counts,
    ];
  });
  return textTable([["PEER", "AS", "TYPE", "FROM", "FILTERS", "SESSION", "IN/OUT"], ...rows]);
}
