/** Door of BGP: objects → the model of one node → configurations of BIRD 2. */
export { birdConfig } from "./bird-config.ts";
export { bgpModel, type BgpOptions } from "./model.ts";
export { isPeerName } from "./peers.ts";
export { bgpPrefixes, BgpState } from "./state.ts";
export type { BgpModel, FamilyModel, Peer } from "./types.ts";
export { whyWithheld, type TableRoute } from "./withheld.ts";
