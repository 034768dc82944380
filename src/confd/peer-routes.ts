/** What a peer is told of BIRD's table, and what it is not told, with the reason. */
import { whyWithheld, type BgpModel, type FamilyModel } from "#bgp";
import { textTable } from "#ctl";
import { birdRoutes, type BirdRoute } from "./bird-routes.ts";
import type { Session } from "./birdc.ts";

interface PeerReport {
  readonly peer: string;
  readonly address: string;
  readonly state: string;
  readonly announced: readonly BirdRoute[];
  readonly withheld: readonly (BirdRoute & { readonly why: string })[];
}

export async function peerReport(
  socket: string,
  { name, neighbor, info }: Session,
  model: BgpModel,
  part: FamilyModel,
): Promise<PeerReport> {
  const announced = await birdRoutes(socket, `export ${name}`);
  const told = new Set(announced.map(keyOf));
  const peer = part.peers.find((one) => one.name === name);
  const withheld = (await birdRoutes(socket)).filter((route) => !told.has(keyOf(route)));
  return {
    peer: name,
    address: neighbor,
    state: info,
    announced,
    withheld: withheld.map((route) => ({
      ...route,
      // Confd has not yet told BIRD of the datastore's latest.
      why: peer === undefined ? "the peer is to go" : whyWithheld(model, part, peer, route),
    })),
  };
}

function keyOf({ destination, protocol, gateway, interface: device }: BirdRoute): string {
  return [destination, protocol, gateway, device].join(" ");
}

export function reportText({ peer, address, state, announced, withheld }: PeerReport): string {
  const row = (route: BirdRoute): string[] => [
    route.destination,
    [
      ...(route.gateway === undefined ? [] : [`via ${route.gateway}`]),
      ...(route.interface === undefined ? [] : [`dev ${route.interface}`]),
    ].join(" ") || "-",
    route.protocol,
  ];
  const told = announced.map((route) => [...row(route), route.communities.join(",") || "-"]);
  const held = withheld.map((route) => [...row(route), route.why]);
  const head = ["DESTINATION", "ROUTE", "FROM"];
  const part = (title: string, last: string, rows: readonly string[][]): string =>
    `\n${title}:\n${rows.length === 0 ? "none\n" : textTable([[...head, last], ...rows])}`;
  return (
    `${peer}, ${address}: ${state}\n` +
    part("announced", "COMMUNITIES", told) +
    part("held back", "WHY", held)
  );
}
